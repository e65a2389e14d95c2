//! Giving back what a cache keeps: drained slots, emptied barns, and the slabs that become wholly free. And its end.
//!
//! Source: `__kmem_cache_shrink`, `flush_all_cpus_locked`, `__kmem_cache_shutdown` (mm/slub.c).

use super::at_fork::hands;
use super::callbacks;
use super::graveyard;
use super::header::Cache;
use super::in_use;
use super::live;
use super::park;
use super::raw::RawCache;
use super::slabs::At;
use crate::error::Error;
use crate::os;
use crate::pages::NodeId;
use crate::percpu::{Cpu, Pair};
use crate::slab::shrink as shrink_node;
use crate::stats::Stat;
use core::ptr::null_mut;

impl RawCache {
    /// Empties every CPU's sheaves and every barn, and gives the slabs that are wholly free to the pages and their memory to
    /// the system. Returns how many slabs went. Other threads may use the cache meanwhile.
    #[must_use = "the number of slabs released"]
    pub fn shrink(self) -> u64 {
        let cache = self.header();
        let released = release_slabs(cache);
        At::new(cache).settle();
        cache.arena.pages.trim();
        in_use::attend();
        released
    }
}

/// Ends a storage and the names that are left of it.
///
/// # Errors
/// Those of [`RawCache::destroy`] but the last.
///
/// # Safety
/// As [`RawCache::destroy`]; nobody has it pinned or comes to share it.
pub(super) unsafe fn end(storage: RawCache) -> Result<(), Error> {
    let cache = storage.header();
    callbacks::check_destroy(cache)?;
    // A destructor may free objects of this very cache: then there is more to release.
    loop {
        At::new(cache).end_rcu()?;
        let queued = callbacks::take_queued(cache);
        let at = At::new(cache);
        at.bump(Stat::FreeSlowpath, queued.len() as u64);
        at.free_grouped(queued.iter().map(|object| object.as_ptr()));
        let released = release_slabs(cache);
        if cache.nodes().all(|node| cache.node(node).slabs() == 0) && storage.stats().prefilled == 0 {
            break;
        }
        // A cache that is busy says so before anybody waits for a reader; for a destructor that runs, it waits.
        let idle = graveyard::reap(cache) == 0 && released == 0 && queued.is_empty();
        if idle && (cache.is_type_safe() || !graveyard::has_dead(cache)) {
            return Err(live::busy(cache));
        }
    }
    graveyard::empty(cache)?;
    cache.rcu.retainer().take();
    // From here on no fault parks the slots, and nobody who walks the caches finds this one.
    let mut registry = cache.arena.registry();
    park::release(cache);
    let names = registry.remove(storage.address());
    drop(registry);
    graveyard::wait_for_reapers(cache);
    let at = At::new(cache);
    for cpu in cache.cpus().filter(|_| cache.has_sheaves()) {
        // SAFETY: the caller promises that nobody else is here.
        let pair = unsafe { cache.backend.peek(cache.slots(), cpu) };
        at.drop_sheaf(at.sheaf_at(pair.main));
        if !pair.spare.is_null() {
            at.drop_sheaf(at.sheaf_at(pair.spare));
        }
    }
    // SAFETY: nobody reads the header any more but this function, which does not look at the hooks again.
    let (hooks, cleared) = unsafe { ((&raw const cache.hooks).read(), (&raw const cache.cleared).read()) };
    let arena = cache.arena;
    let mut registry = arena.registry();
    registry.put_id(cache.id);
    registry.put_block(storage.block());
    drop(registry);
    arena.pages.trim();
    drop(cleared);
    drop(hooks);
    drop(names);
    in_use::attend();
    Ok(())
}

/// Returns how many slabs went, those that the flushes emptied included.
#[unsafe(link_section = "haybarn_shrink")]
fn release_slabs(cache: &Cache) -> u64 {
    let at = At::new(cache);
    let gone = |at: &At<'_>| -> u64 {
        (-2..at.cache.arena.slots as Cpu).map(|cpu| at.cache.stat(cpu, Stat::FreeSlab).get()).sum()
    };
    let before = gone(&at);
    if cache.rcu.is_used() {
        // What waits for readers goes on its way; what has waited goes with the rest.
        at.hand_over();
        at.advance(u64::MAX);
    }
    for cpu in cache.cpus() {
        at.drain(cpu);
    }
    let mut shrunk = 0;
    // All barns first: a sheaf may hold objects of another node, put there by a thread that moved.
    cache.nodes().for_each(|node| at.empty_barn(node));
    for node in cache.nodes() {
        shrunk += shrink_node(&at, cache.node(node));
    }
    at.bump(Stat::ShrinkSlab, shrunk);
    shrunk + (gone(&at) - before)
}

impl At<'_> {
    /// Flushes the sheaves of a CPU. While it is drained the CPU's threads go to barn and slabs.
    #[unsafe(link_section = "haybarn_shrink")]
    pub(super) fn drain(&self, cpu: Cpu) {
        let (cache, intent) = (self.cache, self.cache.intent(cpu));
        if let Some(open) = self.take_out(cpu) {
            // SAFETY: the cache's own slots and backend; the slot was drained by us and gets its empty main sheaf back.
            unsafe { cache.backend.reopen(cache.slots(), cpu, open, &intent) };
        }
    }

    /// Flushes the sheaves of a CPU and leaves its slot stopped, the caller's to open with the pair that this returns. `None`
    /// where there is nothing to flush: no sheaves, or a parked slot.
    #[inline(never)]
    #[unsafe(link_section = "haybarn_shrink")]
    pub(super) fn take_out(&self, cpu: Cpu) -> Option<Pair> {
        let (cache, intent) = (self.cache, self.cache.intent(cpu));
        if !cache.has_sheaves() {
            return None;
        }
        let hands = hands();
        let drained = loop {
            // SAFETY: as above.
            if unsafe { cache.backend.is_parked(cache.slots(), cpu) } {
                return None;
            }
            // SAFETY: the cache's own slots and backend; what is drained is ours, and the slot gets its main sheaf back.
            if let Some(drained) = unsafe { cache.backend.drain(cache.slots(), cpu, &intent) } {
                break drained;
            }
            // Another thread drains this CPU for another shrink, or did in the parent when it forked.
            // SAFETY: as above.
            unsafe { cache.backend.recover(cache.slots(), cpu, &intent) };
            os::yield_now();
        };
        if let Some(rcu) = drained.rcu {
            self.queue(self.sheaf_at(rcu), cache.arena.node_of(cpu), &hands);
        }
        drop(hands);
        self.bump(Stat::Drain, 1);
        self.bump(Stat::DrainRetry, u64::from(drained.rounds - 1));
        let mut main = self.sheaf_at(drained.pair.main);
        let open = Pair { main: cache.shape.empty(cache.shape.base(main.cursor())), spare: null_mut() };
        // SAFETY: as above.
        unsafe { cache.backend.settle(cache.slots(), cpu, open, &intent) };
        self.flush(&mut main);
        if !drained.pair.spare.is_null() {
            let mut spare = self.sheaf_at(drained.pair.spare);
            self.flush(&mut spare);
            self.drop_sheaf(spare);
        }
        Some(open)
    }

    /// Flushes a barn's full sheaves and gives all of its sheaves back.
    #[unsafe(link_section = "haybarn_shrink")]
    pub(super) fn empty_barn(&self, node: NodeId) {
        let (barn, form) = (self.cache.barn(node), self.cache.form());
        let (full, empty) = (barn.full(form), barn.empty(form));
        // Bounded: other threads may fill the barn as fast as it is emptied.
        for _ in 0..full {
            let Some(mut sheaf) = self.barn_full(node) else { break };
            self.flush(&mut sheaf);
            self.drop_sheaf(sheaf);
        }
        for _ in 0..empty {
            let Some(sheaf) = self.barn_empty(node) else { break };
            self.drop_sheaf(sheaf);
        }
    }
}
