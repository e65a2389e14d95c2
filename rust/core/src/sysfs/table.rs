#![forbid(unsafe_code)]
//! The attributes, one row each. Names and formats are Linux's; docs/sysfs.md says which of Linux's are not here, and why.

use super::look::Look;
use super::store::{self, Refused};
use super::value::Value;
use crate::slab::flags::SlabFlags;
use crate::stats::Stat;
use std::sync::LazyLock;

/// The name of the link in each folder.
pub(super) const PRIMARY: &str = "primary";

type Show = fn(&Look<'_>) -> Value;
type Store = fn(&Look<'_>, &str) -> Result<(), Refused>;

/// An attribute that is no counter.
pub(super) struct Attr {
    name: &'static str,
    show: Show,
    /// None: it can only be read.
    store: Option<Store>,
}

const fn ro(name: &'static str, show: Show) -> Attr {
    Attr { name, show, store: None }
}

const fn rw(name: &'static str, show: Show, store: Store) -> Attr {
    Attr { name, show, store: Some(store) }
}

fn flag(look: &Look<'_>, flag: SlabFlags) -> Value {
    Value::Number(u64::from(look.cache().flags.contains(flag)))
}

const ATTRS: &[Attr] = &[
    ro("aliases", |look| Value::Number(look.name.aliases().len() as u64)),
    ro("align", |look| Value::Number(look.name.align() as u64)),
    // Four of our own: what the kernel has no file for.
    ro("barn_full", |look| Value::nodes(look.stats().nodes.iter().map(|node| node.barn.0))),
    ro("barn_empty", |look| Value::nodes(look.stats().nodes.iter().map(|node| node.barn.1))),
    ro("in_sheaves", |look| Value::nodes(look.stats().nodes.iter().map(|node| node.in_barn + node.in_cpus))),
    ro("dead_slabs", |look| Value::nodes(look.stats().nodes.iter().map(|node| node.dead_slabs))),
    ro("cache_dma", |look| flag(look, SlabFlags::CACHE_DMA)),
    // There are no slabs of CPUs in an allocator with sheaves: 0 is all that it can be told.
    rw("cpu_partial", |_| Value::Number(0), store::cpu_partial),
    ro("cpu_slabs", |_| Value::Number(0)),
    ro("ctor", |look| Value::Text(look.cache().hooks.as_ref().map_or_else(String::new, |hooks| hooks.symbol()))),
    ro("destroy_by_rcu", |look| flag(look, SlabFlags::TYPESAFE_BY_RCU)),
    // Whether a fault is about its objects. Which one, `fault::fail_slab` chooses.
    ro("failslab", |look| Value::Number(look.cache().parked.get())),
    ro("hwcache_align", |look| flag(look, SlabFlags::HWCACHE_ALIGN)),
    rw("min_partial", |look| Value::Number(look.cache().min_partial.get()), store::min_partial),
    ro("object_size", |look| Value::Number(look.name.object_size() as u64)),
    ro("objects", |look| Value::nodes(look.survey().iter().map(|node| node.objects - node.free))),
    ro("objects_partial", |look| Value::nodes(look.survey().iter().map(|node| node.in_partial - node.free))),
    ro("objs_per_slab", |look| Value::Number(look.cache().geometry.objs_per_slab.into())),
    ro("order", |look| Value::Number(look.cache().geometry.order.into())),
    ro("partial", |look| Value::nodes(look.stats().nodes.iter().map(|node| node.partial))),
    ro("poison", |look| flag(look, SlabFlags::POISON)),
    ro("reclaim_account", |look| flag(look, SlabFlags::RECLAIM_ACCOUNT)),
    ro("red_zone", |look| flag(look, SlabFlags::RED_ZONE)),
    rw(
        "remote_node_defrag_ratio",
        |look| Value::Number(look.raw().remote_node_defrag_ratio().into()),
        store::remote_node_defrag_ratio,
    ),
    ro("sanity_checks", |look| flag(look, SlabFlags::CONSISTENCY_CHECKS)),
    ro("sheaf_capacity", |look| Value::Number(look.cache().geometry.sheaf_capacity.into())),
    rw("shrink", |_| Value::Nothing, store::shrink),
    ro("slab_size", |look| Value::Number(look.cache().geometry.slab_size as u64)),
    ro("slabs", |look| Value::nodes(look.stats().nodes.iter().map(|node| node.slabs))),
    ro("slabs_cpu_partial", |_| Value::Text("0(0)".to_owned())),
    ro("store_user", |look| flag(look, SlabFlags::STORE_USER)),
    ro("total_objects", |look| Value::nodes(look.stats().nodes.iter().map(|node| node.total_objects))),
    ro("trace", |look| flag(look, SlabFlags::TRACE)),
    ro("usersize", |look| Value::Number(look.name.usercopy().map_or(0, |(_, bytes)| bytes as u64))),
    rw("validate", |_| Value::Nothing, store::validate),
];

/// An attribute of a cache.
#[derive(Clone, Copy)]
pub(super) enum Row {
    Attr(&'static Attr),
    Counter(Stat),
}

/// All of them, sorted by name.
static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let counters = Stat::ALL.iter().map(|&stat| Row::Counter(stat));
    let mut rows: Vec<Row> = ATTRS.iter().map(Row::Attr).chain(counters).collect();
    rows.sort_unstable_by_key(|row| row.name());
    rows
});

impl Row {
    pub fn name(self) -> &'static str {
        match self {
            Self::Attr(attr) => attr.name,
            Self::Counter(stat) => stat.name(),
        }
    }

    pub fn show(self, look: &Look<'_>) -> Value {
        match self {
            Self::Attr(attr) => (attr.show)(look),
            Self::Counter(stat) => look.counter(stat),
        }
    }

    /// Whether there is anything to write to it.
    pub fn is_writable(self) -> bool {
        matches!(self, Self::Counter(_) | Self::Attr(Attr { store: Some(_), .. }))
    }

    pub fn store(self, look: &Look<'_>, text: &str) -> Result<(), Refused> {
        match self {
            Self::Counter(stat) => store::counter(look, stat, text),
            Self::Attr(attr) => attr.store.map_or_else(|| Err(Refused::read_only()), |store| store(look, text)),
        }
    }
}

/// Every attribute, sorted by name.
pub(super) fn rows() -> impl Iterator<Item = Row> {
    ROWS.iter().copied()
}

/// What a cache's folder holds.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let at = ROWS.partition_point(|row| row.name() < PRIMARY);
    let name = |row: &Row| row.name();
    ROWS[..at].iter().map(name).chain([PRIMARY]).chain(ROWS[at..].iter().map(name))
}

/// The attribute of that name.
pub(super) fn find(name: &str) -> Option<Row> {
    ROWS.binary_search_by_key(&name, |row| row.name()).ok().map(|at| ROWS[at])
}
