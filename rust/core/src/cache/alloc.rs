//! Allocation when the main sheaf is empty: spare, barn, refill, and at last straight from the slabs.
//!
//! Source: `slab_alloc_node`, `replace_empty_main`, `___slab_alloc` (mm/slub.c).

use super::ask::may_alloc;
use super::callbacks::any_runs;
use super::construct::{Failed, check_alloc, outcome, zero_refused};
use super::free;
use super::header::Cache;
use super::in_use;
use super::options::{AllocFlags, Found, Level};
use super::sheaves::Filled;
use super::slabs::At;
use crate::pages::NodeId;
use crate::percpu::{Pair, seq};
use crate::sheaf::Sheaf;
use crate::stats::Stat;
use core::ptr::{NonNull, null_mut};

/// Tries at a slot that other threads keep changing; each failed one means that another thread got on. Afterwards the slabs.
const TRIES: usize = 8;

#[cold]
#[inline(never)]
#[unsafe(link_section = "haybarn_alloc_slow")]
pub(super) fn slow(cache: &Cache, flags: AllocFlags) -> Option<NonNull<u8>> {
    if flags.is_empty()
        && !any_runs()
        && let Some(object) = from_full_sheaf(cache)
    {
        return Some(object);
    }
    slower(cache, flags)
}

#[cold]
#[inline(never)]
#[unsafe(link_section = "haybarn_alloc_slow")]
fn slower(cache: &Cache, flags: AllocFlags) -> Option<NonNull<u8>> {
    traced(cache, flags, None).map(|(object, _)| object)
}

/// Nearly all slow allocations: main is used up, and the spare or the barn has a sheaf for its place. `None`: nothing was done, or
/// others were faster. The object is taken by a hit, not on the way, because a processor foresees which store a hit's load of the
/// cursor reads; see docs/design.md.
#[inline(always)]
fn from_full_sheaf(cache: &Cache) -> Option<NonNull<u8>> {
    let (slots, backend) = (cache.slots(), cache.backend);
    if !backend.is_plain() {
        return None;
    }
    // SAFETY: the cache's own slots and backend, here and below. Where a fault wants to be asked they are stopped.
    if !unsafe { seq::swap_empty(slots) } {
        let at = At::new(cache);
        // SAFETY: as above.
        let pair = unsafe { backend.pair(slots, at.cpu()) };
        let is_used_up = |cursor: *mut u64| cursor.is_null() || cache.shape.is_empty(cursor);
        if pair.is_stopped() || !is_used_up(pair.main) || !is_used_up(pair.spare) {
            return None;
        }
        let found = at.restock(pair, false)?;
        at.settle();
        if let Restocked::Object(object) = found {
            in_use::note(cache);
            return Some(object);
        }
    }
    // Behind the change of the slot: a look at it that has seen half of it is followed by another.
    in_use::note(cache);
    // SAFETY: as above.
    NonNull::new(unsafe { seq::alloc(slots) })
}

/// What came of full sheaves of the barn.
enum Restocked {
    /// They are the CPU's.
    Sheaves,
    /// An object of theirs.
    Object(NonNull<u8>),
}

/// What the options ask of an object that was found.
#[cold]
#[inline(never)]
#[unsafe(link_section = "haybarn_alloc_slow")]
pub(super) fn finish(cache: &Cache, object: NonNull<u8>, flags: AllocFlags) -> Option<NonNull<u8>> {
    if flags.contains(AllocFlags::ZERO) {
        if cache.hooks.is_some() {
            free::slow(cache, object);
            return outcome(Err(Failed::from(zero_refused(cache))));
        }
        // SAFETY: the object is ours, and as large as the largest object of a name.
        unsafe { object.as_ptr().write_bytes(0, cache.object_bytes.get() as usize) };
    }
    if flags.contains(AllocFlags::ACCOUNT) {
        account(cache);
    }
    Some(object)
}

pub(super) fn account(cache: &Cache) {
    At::new(cache).bump(Stat::Accounted, 1);
}

/// As [`finish`], for an object that the inlined path took from a sheaf without a look at whose memory it is.
#[cold]
#[inline(never)]
pub(super) fn finish_hit(cache: &Cache, object: NonNull<u8>, flags: AllocFlags) -> Option<NonNull<u8>> {
    if cache.arena.nodes == 1 || !flags.contains(AllocFlags::THISNODE) {
        return finish(cache, object, flags);
    }
    let at = At::new(cache);
    let found = at.keep_or_exchange(object, flags);
    at.settle();
    outcome(found).and_then(|(object, _)| finish(cache, object, flags))
}

/// Takes an object; of a node's memory, if one is given.
#[unsafe(link_section = "haybarn_alloc_slow")]
pub(super) fn traced(cache: &Cache, flags: AllocFlags, node: Option<NodeId>) -> Option<Found> {
    if !may_alloc(cache, 1) {
        return outcome(Ok(None));
    }
    let at = At::new(cache);
    let found = at.find(flags, node);
    at.settle();
    in_use::note(cache);
    let found = outcome(found);
    match found {
        Some((object, level)) if !flags.is_empty() => Some((finish(cache, object, flags)?, level)),
        found => found,
    }
}

impl At<'_> {
    #[unsafe(link_section = "haybarn_alloc_slow")]
    fn find(self, flags: AllocFlags, node: Option<NodeId>) -> Result<Option<Found>, Failed> {
        check_alloc(self.cache, flags)?;
        self.pick(flags, node)
    }

    /// An object, counted.
    #[unsafe(link_section = "haybarn_alloc_slow")]
    pub(super) fn pick(self, flags: AllocFlags, node: Option<NodeId>) -> Result<Option<Found>, Failed> {
        let strict = flags.contains(AllocFlags::THISNODE);
        let wanted = node.or_else(|| strict.then(|| self.home())).filter(|_| self.cache.arena.nodes > 1);
        let Some(node) = wanted else {
            return match self.take_from_sheaves()? {
                None => self.take_from_slabs(self.home(), false, flags),
                found => Ok(found.map(|found| self.hit(found))),
            };
        };
        if node != self.home() {
            self.bump(Stat::AllocNodeMismatch, 1);
            return self.take_from_slabs(node, true, flags);
        }
        match self.take_from_sheaves()? {
            None => self.take_from_slabs(node, true, flags),
            // Refills lend from other nodes, and threads move.
            Some((object, _)) if !self.is_of(object.as_ptr(), node) => self.exchange(object, node, flags, false),
            Some(found) => Ok(Some(self.hit(found))),
        }
    }

    fn hit(&self, found: Found) -> Found {
        if self.cache.counts_hits {
            self.bump(Stat::AllocFastpath, 1);
        }
        found
    }

    /// An object from main, spare, barn or a sheaf that is filled now; the caller counts it.
    #[unsafe(link_section = "haybarn_alloc_slow")]
    fn take_from_sheaves(mut self) -> Result<Option<Found>, Failed> {
        let (cache, shape) = (self.cache, self.cache.shape);
        let (slots, backend) = (cache.slots(), cache.backend);
        if !cache.has_sheaves() {
            return Ok(None);
        }
        self.fold_hits();
        for _ in 0..TRIES {
            // SAFETY: the cache's own slots and backend, here and below; sheaves and objects pass as the trait says.
            let pair = unsafe { backend.pair(slots, self.cpu()) };
            if pair.is_stopped() {
                self.recover();
                return Ok(None);
            }
            if !shape.is_empty(pair.main) {
                let mut object = [null_mut()];
                // SAFETY: as above.
                match unsafe { backend.pop(slots, &mut object) } {
                    Ok(1) => return Ok(NonNull::new(object[0]).map(|object| (object, Level::Sheaf))),
                    Ok(_) => self.go_to(backend.cpu()),
                    Err(_) => return Ok(None),
                }
                continue;
            }
            if !pair.spare.is_null() && !shape.is_empty(pair.spare) {
                // SAFETY: as above. Won or lost, the next round sees what is there.
                unsafe { backend.replace(slots, self.cpu(), pair, Pair { main: pair.spare, spare: pair.main }) };
                self.go_to(backend.cpu());
                continue;
            }
            if let Some(Restocked::Object(object)) = self.restock(pair, true) {
                return Ok(Some((object, Level::Barn)));
            }
            self.bump(Stat::BarnGetFail, 1);
            // A handler takes the one object that it needs from its slab.
            return if self.is_nolock() { Ok(None) } else { self.refill(pair) };
        }
        Ok(None)
    }

    /// Puts a full sheaf of the barn in place of the empty main, and a second one, if the barn has it, in place of the spare, which is
    /// empty or not there. With `take`, and also if the slot has changed and they go back to the barn, the caller has an object of
    /// theirs. `None`: the barn has none.
    #[unsafe(link_section = "haybarn_alloc_slow")]
    fn restock(self, pair: Pair, take: bool) -> Option<Restocked> {
        let (cache, node) = (self.cache, self.home());
        let (full, second) = self.two_full(node);
        let mut full = full?;
        let sheaves = 1 + u64::from(second.is_some());
        self.bump(Stat::BarnGet, sheaves);
        let mut object = if take { full.pop() } else { None };
        [Some(&full), second.as_ref()].into_iter().flatten().for_each(|full| full.set_origin(cache.shape, false));
        let new = Pair { main: full.cursor(), spare: second.as_ref().map_or(pair.spare, Sheaf::cursor) };
        // SAFETY: the sheaves are ours, and the pair was read from this CPU's slot.
        if unsafe { cache.backend.replace(cache.slots(), self.cpu(), pair, new) } {
            let main = self.sheaf_at(pair.main);
            match (second.is_some() && !pair.spare.is_null()).then(|| self.sheaf_at(pair.spare)) {
                Some(spare) => self.put_two_empty(node, main, spare),
                None => self.put_in_barn(node, main),
            }
        } else {
            object = object.or_else(|| full.pop());
            self.bump(Stat::BarnPut, sheaves - u64::from(full.is_empty()));
            self.put_in_barn(node, full);
            second.into_iter().for_each(|second| self.put_in_barn(node, second));
        }
        Some(object.map_or(Restocked::Sheaves, Restocked::Object))
    }

    /// Fills an empty sheaf from the slabs, takes an object, and installs the rest.
    #[cold]
    #[inline(never)]
    #[unsafe(link_section = "haybarn_refill")]
    fn refill(mut self, pair: Pair) -> Result<Option<Found>, Failed> {
        let node = self.home();
        let empty = self.detach_spare(pair).or_else(|| self.barn_empty(node)).or_else(|| self.new_sheaf());
        let Some(mut sheaf) = empty else { return Ok(None) };
        let level = match self.fill(&mut sheaf, node) {
            Ok(Filled::Partial) => Level::Partial,
            Ok(Filled::NewSlab) => Level::NewSlab,
            Err(failed) => {
                self.put_in_barn(node, sheaf);
                return Err(failed);
            }
        };
        let Some(object) = sheaf.pop() else {
            self.put_in_barn(node, sheaf);
            return Ok(None);
        };
        sheaf.set_origin(self.cache.shape, false);
        self.install(sheaf, node);
        Ok(Some((object, level)))
    }

    /// The slot's empty spare, if it has one and still does.
    #[unsafe(link_section = "haybarn_refill")]
    fn detach_spare(&self, pair: Pair) -> Option<Sheaf> {
        let new = Pair { main: pair.main, spare: null_mut() };
        // SAFETY: the pair was read from this CPU's slot; what is displaced is ours.
        let detached =
            !pair.spare.is_null() && unsafe { self.cache.backend.replace(self.cache.slots(), self.cpu(), pair, new) };
        detached.then(|| self.sheaf_at(pair.spare))
    }

    /// Puts a filled sheaf where it helps most on the CPU that we are on now; else in the barn. The old empty main stays as
    /// the spare where there is none: the next free needs it.
    #[unsafe(link_section = "haybarn_refill")]
    fn install(&mut self, sheaf: Sheaf, node: NodeId) {
        let (shape, slots, backend) = (self.cache.shape, self.cache.slots(), self.cache.backend);
        for _ in 0..TRIES {
            self.go_to(backend.cpu());
            // SAFETY: the cache's own slots and backend, here and below.
            let pair = unsafe { backend.pair(slots, self.cpu()) };
            if pair.is_stopped() || self.home() != node {
                break;
            }
            let (main, spare) = (pair.main, pair.spare);
            let has_spare = !spare.is_null();
            let (new, displaced) = if shape.is_empty(main) {
                let kept = if has_spare { spare } else { main };
                (Pair { main: sheaf.cursor(), spare: kept }, has_spare.then_some(main))
            } else if !has_spare || shape.is_empty(spare) {
                (Pair { main, spare: sheaf.cursor() }, has_spare.then_some(spare))
            } else {
                break;
            };
            // SAFETY: the sheaf is ours until the commit, what it displaces is ours afterwards.
            if unsafe { backend.replace(slots, self.cpu(), pair, new) } {
                if let Some(displaced) = displaced {
                    self.put_in_barn(self.home(), self.sheaf_at(displaced));
                }
                return;
            }
        }
        if !sheaf.is_empty() {
            self.bump(Stat::BarnPut, 1);
        }
        self.put_in_barn(node, sheaf);
    }

    /// One object straight from the slabs: see [`At::search_slabs`].
    #[cold]
    #[inline(never)]
    #[unsafe(link_section = "haybarn_partial")]
    fn take_from_slabs(&self, node: NodeId, asked: bool, flags: AllocFlags) -> Result<Option<Found>, Failed> {
        let found = self.search_slabs(node, asked, flags)?;
        if found.is_some() {
            self.bump(Stat::AllocSlowpath, 1);
        }
        Ok(found)
    }

    /// Moves the hits that the counting sequences packed into the counters, long before a half could wrap.
    pub(super) fn fold_hits(&self) {
        if !self.cache.counts_hits {
            return;
        }
        // SAFETY: the cache's own slots.
        let (allocs, frees) = unsafe { self.cache.backend.take_hits(self.cache.slots(), self.cpu()) };
        if allocs | frees != 0 {
            self.bump(Stat::AllocFastpath, allocs);
            self.bump(Stat::FreeFastpath, frees);
        }
    }

    /// After a slot was found closed: opens what a drainer left behind in the parent of this process.
    #[cold]
    #[inline(never)]
    pub(super) fn recover(&self) {
        let cpu = self.cache.backend.cpu();
        // SAFETY: the cache's own slots.
        unsafe { self.cache.backend.recover(self.cache.slots(), cpu, &self.cache.intent(cpu)) };
    }
}
