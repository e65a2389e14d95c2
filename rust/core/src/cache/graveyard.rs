#![forbid(unsafe_code)]
//! Who empties the graveyard of a cache, when, and what its end waits for. The lists themselves are `slab::graveyard`'s.
//!
//! Nobody waits here for a reader while holding anything: who cannot go on leaves the slab where it was.

use super::callbacks;
use super::construct;
use super::header::Cache;
use super::hooks::DtorMode;
use super::live;
use super::raw::RawCache;
use super::reapers::Reapers;
use super::slabs::At;
use crate::os;
use crate::slab::{Slabs, exhume, release_dead, ripen};
use crate::sync::Index;
use core::ptr::NonNull;

/// While it lives, the cache's end waits.
struct Reaper<'c> {
    cache: &'c Cache,
    generation: u64,
}

impl<'c> Reaper<'c> {
    fn enter(cache: &'c Cache) -> Self {
        cache.reapers.change(|seen| seen + 1);
        Self { cache, generation: Reapers::generation() }
    }
}

impl Drop for Reaper<'_> {
    fn drop(&mut self) {
        // A destructor that forked: the child counts from 0, and this thread entered in the parent.
        if self.generation == Reapers::generation() {
            self.cache.reapers.change(|seen| seen - 1);
        }
    }
}

impl RawCache {
    /// Whether slabs have died whose pages wait for a grace period or for destructors.
    #[doc(hidden)]
    #[must_use]
    pub fn has_dead(self) -> bool {
        has_dead(self.header())
    }

    /// Dead slabs whose pages wait for a grace period or for destructors. They count in neither `slabs` nor `total_objects`.
    #[must_use]
    pub fn dead_slabs(self) -> u64 {
        self.header().nodes().map(|node| self.header().node(node).grave().dead()).sum()
    }

    /// Gives the pages of dead slabs back whose grace period is over, after their destructors ran on this thread. Waits for
    /// nothing. Returns how many slabs went. Callable from any thread that holds no lock which a destructor takes.
    #[doc(hidden)]
    pub fn reap(self) -> usize {
        reap(self.header())
    }
}

pub(super) fn has_dead(cache: &Cache) -> bool {
    cache.defers_death && cache.nodes().any(|node| cache.node(node).grave().dead() > 0)
}

/// See [`RawCache::reap`]. Never called with a lock held, nor from inside the slab protocol.
pub(super) fn reap(cache: &Cache) -> usize {
    // Inside a callback of this cache its outer operation does it: destructors do not nest.
    if !has_dead(cache) || callbacks::runs(cache) {
        return 0;
    }
    let _reaper = Reaper::enter(cache);
    let at = At::new(cache);
    let mut gone = 0;
    for node in cache.nodes() {
        ripen(&at, cache.node(node));
        while let Some(slab) = exhume(&at, cache.node(node)) {
            at.end_of(slab);
            gone += 1;
        }
    }
    gone
}

impl At<'_> {
    /// Destructs the objects of a dead slab that is ours and gives its pages back.
    fn end_of(&self, slab: Index) {
        if let Some(base) = NonNull::new(self.base(slab)) {
            construct::destruct_slab(self.cache, base, self.total(slab));
        }
        release_dead(self, slab);
    }

    /// At the end of every public operation off the fast path: takes care of the slabs that it killed.
    pub fn settle(&self) {
        if !self.cache.defers_death || !has_dead(self.cache) {
            return;
        }
        match (&self.cache.hooks, self.cache.dtor_mode) {
            // Frees kill no more slabs than there is room for: this backlog is bounded whether anybody comes or not.
            (Some(hooks), DtorMode::Manual) => hooks.died(),
            _ => {
                reap(self.cache);
            }
        }
    }
}

/// Before a cache ends, when nobody else uses it: until all of its dead are gone.
pub(super) fn empty(cache: &Cache) {
    while has_dead(cache) {
        if reap(cache) == 0 {
            bury_the_lost(cache);
            os::yield_now();
        }
    }
}

/// After a cache with no dead was taken out of its arena's registry: until nobody looks for dead any more.
pub(super) fn wait_for_reapers(cache: &Cache) {
    while !cache.reapers.none() {
        os::yield_now();
    }
}

/// Gives back the pages of dead slabs that were in the hands of threads which a fork left in the parent. They are still in
/// the page map. Whether their destructors ran nobody knows, so they do not run here.
fn bury_the_lost(cache: &Cache) {
    // The lists first: who enters after they were seen empty finds nothing.
    let empty = cache.nodes().all(|node| cache.node(node).grave().is_empty(cache.form()));
    if !empty || !cache.reapers.none() {
        return;
    }
    let at = At::new(cache);
    for slab in live::dead_slabs(&at) {
        release_dead(&at, slab);
    }
    cache.nodes().for_each(|node| cache.node(node).grave().set_none_dead());
}
