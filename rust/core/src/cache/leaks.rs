//! Which objects of caches in use are live, and the report of them when the process ends.
//!
//! A look moves nothing for good: sheaves are looked at where they lie, and the free lists of partial slabs are taken one slab at a
//! time and given back. So it may be taken at any time; what other threads do meanwhile makes it a little wrong.
//!
//! Source: the list of objects that `__kmem_cache_shutdown` prints (mm/slub.c); at exit, what kmemleak and LeakSanitizer are for.
#![forbid(unsafe_code)]

use super::arena::Arena;
use super::environment::{bad, variable};
use super::header::Cache;
use super::live::{SAMPLE, slabs};
use super::names::CacheName;
use super::raw::RawCache;
use super::slabs::At;
use super::stack::taken_out;
use crate::error::{Error, LiveObject, named};
use crate::os;
use crate::slab::flags::SlabFlags;
use crate::slab::{ObjRef, Slabs, Taken, give_back, harvest};
use crate::sync::Counter;
use core::fmt;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// A cache with live objects.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leak {
    /// The cache's name, that of the primary where several share it.
    pub cache: String,
    /// The other names of the same objects.
    pub aliases: Vec<String>,
    /// Objects that are handed out and not freed.
    pub live: u64,
    /// Prefilled sheaves that are out; what is in them is not live.
    pub prefilled: u64,
    /// The first of the live objects, by address; at most 64.
    pub sample: Vec<LiveObject>,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cache '{}'", self.cache)?;
        if !self.aliases.is_empty() {
            write!(f, " (also {})", self.aliases.join(", "))?;
        }
        match (self.live, self.prefilled) {
            (0, out) => write!(f, ": {out} prefilled sheaf/sheaves out"),
            (live, 0) => write!(f, ": {live} live object(s): {}", named(&self.sample, live)),
            (live, out) => {
                write!(f, ": {live} live object(s): {}; {out} prefilled sheaf/sheaves out", named(&self.sample, live))
            }
        }
    }
}

impl RawCache {
    /// The live objects (handed out, not freed, not given to `free_rcu`), by address: how many, and the first `most`. Exact when
    /// the cache is quiet. From any thread; takes locks, so not from signal handlers.
    #[must_use]
    pub fn live_objects(self, most: usize) -> (u64, Vec<LiveObject>) {
        let cache = self.header();
        let at = At::new(cache);
        let free = free_objects(&at);
        let (mut live, mut sample) = (0, Vec::new());
        for slab in slabs(&at) {
            let (base, stride) = (at.base(slab).addr(), cache.geometry.slab_size);
            for index in (0..at.total(slab)).filter(|&n| !free.contains(&(base + n as usize * stride))) {
                live += 1;
                if sample.len() < most {
                    sample.push(LiveObject { address: base + index as usize * stride, index });
                }
            }
        }
        (live, sample)
    }
}

/// The addresses of what is in slabs and not in use.
fn free_objects(at: &At<'_>) -> HashSet<usize> {
    let cache: &Cache = at.cache;
    let mut free = taken_out(cache);
    at.each_rcu_object(|_, object| {
        free.insert(object.addr());
    });
    for node in cache.nodes() {
        let mut taken = Vec::new();
        // Bounded: others may list slabs as fast as we take them.
        for _ in 0..cache.node(node).partial(cache.form()) {
            let mut list = None;
            harvest(at, cache.node(node), 1, |slab, head, count| {
                list = Some((slab, head, count));
                Taken { used: count, rest: ObjRef::NONE }
            });
            taken.extend(list);
        }
        for (slab, head, count) in taken.into_iter().rev() {
            let (mut object, objects) = (at.object(slab, head), at.base(slab).addr());
            for _ in 0..count {
                // Whoever wrote into a free object shall not take the report down.
                if object.addr().wrapping_sub(objects) >= at.total(slab) as usize * cache.geometry.slab_size {
                    break;
                }
                free.insert(object.addr());
                object = at.next_of(object);
            }
            give_back(at, slab, head, count);
        }
    }
    // Last: what was in a slab before may have come into a sheaf meanwhile.
    at.each_cached(|object| {
        free.insert(object.addr());
    });
    free
}

impl Arena {
    /// The caches that have live objects, or prefilled sheaves out, oldest first; those made with `NOLEAKTRACE` are left out. May be
    /// called at any time outside of signal handlers; exact for caches that are quiet.
    #[must_use]
    pub fn leaks(&'static self) -> Vec<Leak> {
        self.names().iter().filter(|name| name.is_primary()).filter_map(leak).collect()
    }
}

fn leak(name: &CacheName) -> Option<Leak> {
    if name.flags().contains(SlabFlags::NOLEAKTRACE) {
        return None;
    }
    let storage = name.pin()?;
    let prefilled = storage.stats().prefilled;
    let (live, sample) = storage.live_objects(SAMPLE);
    let mut names = name.aliases();
    if !name.is_hidden() {
        names.insert(0, name.name().to_owned());
    }
    let aliases = names.split_off(names.len().min(1));
    let cache = names.pop()?;
    (live + prefilled > 0).then_some(Leak { cache, aliases, live, prefilled, sample })
}

/// Arenas whose caches are looked at when the process ends.
static WATCHED: Mutex<Vec<&'static Arena>> = Mutex::new(Vec::new());
/// The process that asked, by its fork generation.
static ASKED: Counter = Counter::new();

/// Whether `HAYBARN_LEAKS` asks for a report at exit: 1 yes, 0 or nothing no.
///
/// # Errors
/// [`Error::BadArgument`] for anything else.
pub fn leaks_wanted() -> Result<bool, Error> {
    let legal = "0 or 1";
    match variable("HAYBARN_LEAKS", legal)?.as_deref() {
        None | Some("0") => Ok(false),
        Some("1") => Ok(true),
        Some(other) => Err(bad("HAYBARN_LEAKS", other, legal)),
    }
}

/// Looks at an arena that gets a cache when the process ends, if that is asked for. Called with its registry locked, so that no fork
/// comes between: the child would find the list locked for ever.
pub(super) fn watch(arena: &'static Arena) -> Result<(), Error> {
    if !leaks_wanted()? {
        return Ok(());
    }
    let mut watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    if watched.is_empty() {
        ASKED.set(os::fork::generation());
        os::thread::at_exit(at_exit);
    }
    if !watched.iter().any(|there| core::ptr::eq(*there, arena)) {
        watched.push(arena);
    }
    Ok(())
}

/// Says that the process's leaks have been reported by somebody who knows more of them (Python does: their lines); nothing is at
/// exit then.
pub fn leaks_were_reported() {
    // No process has forked that often.
    ASKED.set(u64::MAX);
}

extern "C" fn at_exit() {
    // A forked child has copies of its parent's objects, which it is not asked to free.
    if ASKED.get() != os::fork::generation() {
        return;
    }
    // Not held meanwhile: who makes a cache has a registry first and then the list.
    let Ok(watched) = WATCHED.try_lock().map(|watched| watched.clone()) else { return };
    for leak in watched.iter().flat_map(|arena| arena.leaks()) {
        os::thread::report(&format!("haybarn: at exit: {leak}\n"));
    }
}
