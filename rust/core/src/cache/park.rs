//! Faults that fail objects: a cache that one is about keeps its slots *parked*, so that no allocation can hit and each is
//! asked in the slow path (`ask`). Nothing on the fast path looks for faults.
//!
//! A parked slot is drained, stopped like under a drain, and marked as nobody's (`os::fork::PARKED`). Its empty main sheaf
//! waits in the slot for the end of the fault. Frees go to the slabs meanwhile; who drains finds a parked slot empty. Caches
//! are parked and opened under the lock of their arena's registry only, which forks take: a child finds each cache one or the
//! other. Source: `should_failslab` (mm/failslab.c).

use super::at_fork;
use super::header::Cache;
use super::raw::RawCache;
use super::registry::Registry;
use super::slabs::At;
use super::undertaker;
use crate::error::Error;
use crate::inject::{self, FaultAttr, FaultGuard, Target};
use crate::percpu::Cpu;
use core::fmt;

/// Makes allocations of objects fail: of `cache`, or of every cache of every arena, those made meanwhile included. Single and
/// bulk allocations are asked once a call, with the bytes of all their objects; also what would have been a hit in a sheaf.
/// Frees work as ever. Ends when the guard is dropped, or for a cache with the cache.
///
/// Begins by emptying the caches' sheaves, as `shrink` does, and keeps them empty: allocations and frees of these caches take
/// the slow path until the end. Waits for other threads' drains; alloc and free wait for nothing.
///
/// # Errors
/// [`Error::BadArgument`] for a parameter out of range, and for a cache that several names share: the fault would hit all of
/// them. While it is on, no new name comes to share the cache. As the kernel's attribute `failslab`.
pub fn fail_slab(cache: Option<RawCache>, attr: FaultAttr) -> Result<FaultGuard, Error> {
    let target = cache.map_or(Target::Objects, |cache| Target::ObjectsOf(cache.address()));
    let guard = inject::begin(target, &attr, settle_all)?;
    if let Some(cache) = cache {
        refuse_shared(cache)?;
    }
    settle_all();
    // What was flushed may have emptied slabs, whose destructors run with no registry locked.
    undertaker::settle_all();
    Ok(guard)
}

/// When the fault has begun, so that nobody comes to share the cache after the look.
fn refuse_shared(cache: RawCache) -> Result<(), Error> {
    let registry = cache.arena().registry();
    let names: Vec<_> = registry.names_of(cache.address()).map(|name| &*name.info.name).collect();
    if names.len() < 2 {
        return Ok(());
    }
    let value = format!("one of {}, which share their slabs,", names.join(", "));
    let legal = "a cache that shares its slabs with no other: create it with NO_MERGE".to_owned();
    Err(Error::BadArgument { cache: names[0].to_owned(), argument: "cache", value, legal })
}

/// A fault that is on.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveFault {
    /// The function that started it: `fail_page_alloc` or `fail_slab`.
    pub kind: &'static str,
    /// The cache that it is about; none: all.
    pub cache: Option<String>,
    /// Its parameters, with what is left of `space` and `times`.
    pub attr: FaultAttr,
    /// Requests that it has made fail.
    pub fired: u64,
}

impl fmt::Display for ActiveFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FaultAttr { probability, interval, space, times, this_thread } = self.attr;
        write!(f, "{}", self.kind)?;
        if let Some(cache) = &self.cache {
            write!(f, " of cache '{cache}'")?;
        }
        write!(f, ": probability {probability}, interval {interval}, space {space}, times ")?;
        match times {
            Some(times) => write!(f, "{times}")?,
            None => write!(f, "without end")?,
        }
        write!(f, "{}, fired {}", if this_thread { ", one thread" } else { "" }, self.fired)
    }
}

/// The faults of this process that are on.
#[must_use]
pub fn active() -> Vec<ActiveFault> {
    let describe = |(target, attr, fired)| {
        let (kind, cache) = match target {
            Target::Memory => ("fail_page_alloc", None),
            Target::Objects => ("fail_slab", None),
            Target::ObjectsOf(slots) => ("fail_slab", Some(name_of(slots)?)),
        };
        Some(ActiveFault { kind, cache, attr, fired })
    };
    inject::on().into_iter().filter_map(describe).collect()
}

/// The name of the living cache at `slots`.
fn name_of(slots: usize) -> Option<String> {
    let mut name = None;
    at_fork::each_registry(|registry| {
        if let Some(primary) = registry.names_of(slots).next() {
            name = Some(primary.info.name.clone());
        }
    });
    name
}

fn caches(registry: &Registry) -> impl Iterator<Item = &'static Cache> {
    registry.caches.iter().filter_map(|entry| RawCache::from_address(entry.slots)).map(RawCache::header)
}

/// After a fault about objects began or ended. Whoever changes the list of faults comes here afterwards, so that in the end
/// every cache is as the last change wants it.
fn settle_all() {
    at_fork::each_registry(|registry| caches(registry).for_each(settle));
}

/// Parks or opens a cache's slots as the faults that are on want it. The arena's registry is locked.
pub(super) fn settle(cache: &Cache) {
    let wanted = inject::objects_fail(RawCache::of(cache).address());
    if wanted && cache.parked.get() == 0 {
        // First: what is stopped from now on shall ask.
        cache.parked.set(1);
        let at = At::new(cache);
        cache.cpus().for_each(|cpu| at.park(cpu));
        // Nobody takes from the barns any more; what lay there would be out of reach.
        cache.nodes().for_each(|node| at.empty_barn(node));
        undertaker::walked(cache);
    } else if !wanted {
        open(cache);
    }
}

/// Before the end of a cache that its registry, which is locked, forgets now: the faults about it alone are about nothing any
/// more, and its slots are opened.
pub(super) fn release(cache: &Cache) {
    inject::forget(RawCache::of(cache).address());
    open(cache);
}

fn open(cache: &Cache) {
    if cache.parked.get() != 0 {
        let at = At::new(cache);
        cache.cpus().for_each(|cpu| at.unpark(cpu));
        cache.parked.set(0);
    }
}

impl At<'_> {
    fn park(&self, cpu: Cpu) {
        if self.take_out(cpu).is_some() {
            // SAFETY: the slot was just drained by us.
            unsafe { self.cache.backend.park(self.cache.slots(), cpu) };
        }
    }

    fn unpark(&self, cpu: Cpu) {
        let cache = self.cache;
        // SAFETY: the cache's own slots; a parked slot is its parker's, and that is whoever holds the registry.
        unsafe {
            if cache.backend.is_parked(cache.slots(), cpu) {
                cache.backend.unpark(cache.slots(), cpu, &cache.intent(cpu));
            }
        }
    }
}
