#![forbid(unsafe_code)]
//! How the graveyard of a cache is emptied, and what the cache's end waits for. The lists themselves are `slab::graveyard`'s;
//! who empties it when is `undertaker`'s.
//!
//! Nobody waits here for a reader while holding anything: who cannot go on leaves the slab where it was.

use super::callbacks;
use super::construct;
use super::header::Cache;
use super::live;
use super::raw::RawCache;
use super::reapers::Reapers;
use super::slabs::At;
use crate::error::Error;
use crate::slab::{Slabs, exhume, lay_back, release_dead, ripen};
use crate::sync::{Bug, Index};
use crate::{os, rcu};
use core::ptr::NonNull;

/// While it lives, the cache's end waits.
pub(super) struct Reaper<'c> {
    cache: &'c Cache,
    generation: u64,
}

impl<'c> Reaper<'c> {
    pub fn enter(cache: &'c Cache) -> Self {
        cache.reapers.change(|seen| seen + 1);
        Self { cache, generation: Reapers::generation() }
    }

    pub fn cache(&self) -> &'c Cache {
        self.cache
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

/// Looks which of the dead have waited long enough: whether some still wait, and whether some could be ended now.
pub(super) fn ripen_all(cache: &Cache) -> (bool, bool) {
    let at = At::new(cache);
    let (mut some_wait, mut some_ripe) = (false, false);
    for node in cache.nodes() {
        some_wait |= ripen(&at, cache.node(node));
        some_ripe |= cache.node(node).grave().has_ripe(cache.form());
    }
    (some_wait, some_ripe)
}

impl At<'_> {
    /// Destructs the objects of a dead slab that is ours and gives its pages back.
    fn end_of(&self, slab: Index) {
        if Bug::DestructUnowned.planted() {
            lay_back(self, slab);
        }
        if let Some(base) = NonNull::new(self.base(slab)) {
            construct::destruct_slab(self.cache, base, self.total(slab));
        }
        if Bug::DestructUnowned.planted() && exhume(self, self.node(slab)) != Some(slab) {
            return;
        }
        release_dead(self, slab);
    }
}

/// Before a cache ends, when nobody else uses it: until all of its dead are gone, which for a type-safe cache takes a grace
/// period.
///
/// # Errors
/// [`Error::InReadSection`] where readers would have to be waited for by one of them.
pub(super) fn empty(cache: &Cache) -> Result<(), Error> {
    if cache.is_type_safe() && has_dead(cache) {
        rcu::wait_for("the end of a type-safe cache", rcu::get_state())?;
    }
    while has_dead(cache) {
        if reap(cache) == 0 {
            bury_the_lost(cache);
            os::yield_now();
        }
    }
    Ok(())
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
