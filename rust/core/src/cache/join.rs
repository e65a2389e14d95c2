#![forbid(unsafe_code)]
//! How a name comes by its storage: it shares the oldest that fits, or gets its own.

use super::arena::Arena;
use super::attributes::{CacheInfo, Named, Stays};
use super::create::{CacheArgs, Checked, bad, build, check};
use super::header::Cache;
use super::in_use;
use super::leaks;
use super::merge::{Standing, Wanted, unique_id};
use super::names::CacheName;
use super::raw::RawCache;
use super::rcu_service;
use super::registry::Registry;
use crate::error::Error;
use crate::inject;
use crate::slab::flags::SlabFlags;
use crate::sync::Bug;
use core::any::Any;
use std::sync::{Arc, Mutex};

/// How a name comes by its storage.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Its own, for good.
    Alone,
    /// As Linux: the oldest that fits, else its own.
    Joins,
    /// Its own, which later names may share.
    Target,
    /// As [`Way::Joins`], but where none fits, one of a hidden name: the storage may outlive this name's owner.
    BehindHidden,
}

impl RawCache {
    /// Makes a cache of objects of `size` bytes in an arena, with storage of its own, under one name: whatever its flags are,
    /// no other name ever shares it. [`CacheName::create`] is what merges.
    ///
    /// # Errors
    /// [`Error::BadArgument`] naming the argument and its legal range: the name is 1 to 127 bytes without space, `/` or
    /// control characters and unique among the arena's living caches; for the others see [`CacheArgs`].
    /// [`Error::OutOfMemory`] when there is no memory for the cache itself.
    ///
    /// # Panics
    /// On any error if the flags have `PANIC`.
    pub fn create(arena: &'static Arena, name: &str, size: usize, args: &CacheArgs) -> Result<Self, Error> {
        create(arena, name, size, args, Way::Alone).map(|name| name.storage())
    }
}

impl CacheName {
    /// Makes a cache of objects of `size` bytes in an arena. It shares the storage of the oldest cache there that has objects of
    /// as many words, suits its alignment and is of its kind; where none does, it gets storage of its own.
    ///
    /// What keeps a cache apart, both ways: the flags `NO_MERGE`, `TYPESAFE_BY_RCU`, `NOLEAKTRACE` and those of debugging; a
    /// sheaf capacity, a least order, hooks, a usercopy region, `count_hits` or `encode_freeptr` among the arguments; a fault
    /// about it alone. `HAYBARN_NOMERGE=1` keeps all apart. `RECLAIM_ACCOUNT`, `CACHE_DMA`, `CACHE_DMA32` and `ACCOUNT` must
    /// be the same. Source: `find_mergeable` (mm/slab_common.c).
    ///
    /// # Errors
    /// As [`RawCache::create`]. A name is unique among the arena's living names, whatever storage they have.
    ///
    /// # Panics
    /// On any error if the flags have `PANIC`.
    pub fn create(arena: &'static Arena, name: &str, size: usize, args: &CacheArgs) -> Result<Self, Error> {
        create(arena, name, size, args, Way::Joins)
    }
}

/// Makes a name.
pub(super) fn create(
    arena: &'static Arena,
    name: &str,
    size: usize,
    args: &CacheArgs,
    way: Way,
) -> Result<CacheName, Error> {
    or_panic(args, try_create(arena, name, size, args, way, None))
}

/// Makes a name in storage whose address was chosen beforehand, which the end of `keeper` frees. With an owner its slabs are
/// those of another name, since they may live longer than what goes with the owner.
pub(super) fn create_in_storage(
    arena: &'static Arena,
    name: &str,
    size: usize,
    args: &CacheArgs,
    keeper: Keeper,
) -> Result<CacheName, Error> {
    let way = if args.owner.is_some() { Way::BehindHidden } else { Way::Target };
    or_panic(args, try_create(arena, name, size, args, way, Some(keeper)))
}

/// See [`Stays::keeper`].
type Keeper = Box<dyn Any + Send + Sync>;

fn or_panic(args: &CacheArgs, made: Result<CacheName, Error>) -> Result<CacheName, Error> {
    match made {
        Err(error) if args.flags.contains(SlabFlags::PANIC) => panic!("SLAB_PANIC: {error}"),
        made => made,
    }
}

fn try_create(
    arena: &'static Arena,
    name: &str,
    size: usize,
    args: &CacheArgs,
    way: Way,
    keeper: Option<Keeper>,
) -> Result<CacheName, Error> {
    let checked = check(arena, name, size, args)?;
    in_use::attend();
    let apart = arena.no_merge || way == Way::Alone || asks_for_own(args);
    let wanted = Wanted::new(&checked.geometry, checked.flags, apart);
    let mut registry = arena.registry();
    leaks::watch(arena)?;
    rcu_service::register();
    if registry.find(name).is_some() {
        return Err(bad(name, "name", name, "a name that no living cache has"));
    }
    let joined = if way == Way::Target { None } else { mergeable(&registry, &wanted) };
    let storage = match joined {
        Some(storage) => storage,
        None if way == Way::BehindHidden && !wanted.is_unmergeable() => {
            let hidden = hidden_name(&registry, checked.geometry.slab_size, checked.flags);
            let built = build(arena, &mut registry, &hidden, args, &checked, false);
            let storage = built.map_err(|error| error.of_cache(name))?;
            hide_behind(&mut registry, CacheInfo { name: hidden, ..attributes(storage, size, &checked) }, storage);
            storage
        }
        None => build(arena, &mut registry, name, args, &checked, wanted.is_unmergeable())?,
    };
    // What ZERO clears is what the largest name shows.
    storage.object_bytes.set(storage.object_bytes.get().max(size as u64));
    let info = CacheInfo { name: name.to_owned(), ..attributes(storage, size, &checked) };
    let named = Named::new(info, RawCache::of(storage).address());
    let behind = way == Way::BehindHidden && !wanted.is_unmergeable();
    let owner = args.owner.clone();
    let stays = (keeper.is_some() || owner.is_some()).then(|| Arc::new(Stays { keeper, owner }));
    let named = Arc::new(Named { usercopy: args.usercopy, behind, stays: Mutex::new(stays), ..named });
    registry.names.push(named.clone());
    Ok(CacheName::of(arena, &named))
}

fn attributes(storage: &Cache, size: usize, checked: &Checked) -> CacheInfo {
    let of_storage = RawCache::of(storage).info();
    CacheInfo { object_size: size, align: checked.geometry.align, flags: checked.flags, ..of_storage }
}

/// Whether what is asked for makes another storage than others have.
fn asks_for_own(args: &CacheArgs) -> bool {
    args.sheaf_capacity != 0
        || args.hooks.is_some()
        || args.usercopy.is_some()
        || args.min_order != 0
        || args.count_hits
        || args.encode_freeptr
        || args.retainer.is_some()
}

/// The oldest storage that fits.
fn mergeable(registry: &Registry, wanted: &Wanted) -> Option<&'static Cache> {
    if wanted.is_unmergeable() {
        return None;
    }
    let caches =
        registry.caches.iter().filter_map(|entry| Some((entry, RawCache::from_address(entry.slots)?.header())));
    let mut fitting = caches.filter(|(entry, cache)| {
        let apart = entry.apart || (entry.is_dying() && !Bug::JoinDying.planted());
        let standing = Standing { slab_size: cache.geometry.slab_size, flags: cache.flags, apart };
        // One that a fault is about alone is as one with the kernel's FAILSLAB.
        wanted.fits(&standing) && !inject::is_singled_out(entry.slots)
    });
    fitting.next().map(|(_, cache)| cache)
}

/// Gives a storage the name that stands for it where no other may.
fn hide_behind(registry: &mut Registry, info: CacheInfo, storage: &Cache) {
    registry.names.push(Arc::new(Named { hidden: true, ..Named::new(info, RawCache::of(storage).address()) }));
}

/// After a name has left: a storage that only names with owners are left of gets a hidden primary.
pub(super) fn see_to_primary(registry: &mut Registry, storage: &Cache) {
    let raw = RawCache::of(storage);
    if registry.primary(raw.address()).is_none() {
        let name = hidden_name(registry, storage.geometry.slab_size, storage.flags);
        hide_behind(registry, CacheInfo { name, ..raw.info() }, storage);
    }
}

/// The name of a storage that no user named; with a number where a living name reads the same.
fn hidden_name(registry: &Registry, slab_size: usize, flags: SlabFlags) -> String {
    let id = unique_id(slab_size, flags);
    let (mut tried, mut number) = (id.clone(), 1);
    while registry.find(&tried).is_some() {
        number += 1;
        tried = format!("{id}:{number}");
    }
    tried
}
