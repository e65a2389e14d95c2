//! Freeing when the main sheaf is full: spare, barn, flush, and at last straight to the slab.
//!
//! Source: `slab_free`, `free_to_pcs`, `replace_full_main` (mm/slub.c).

use super::callbacks;
use super::header::Cache;
use super::in_use;
use super::slabs::At;
use crate::percpu::{Pair, seq};
use crate::sheaf::Sheaf;
use crate::stats::Stat;
use core::ptr::{NonNull, null_mut};

/// See the constant of the same name in `alloc`.
const TRIES: usize = 8;
/// Objects flushed from a main sheaf when there is not even memory for an empty one (`PCS_BATCH_MAX`).
const FLUSH_BATCH: usize = 32;

#[cold]
#[inline(never)]
#[unsafe(link_section = "haybarn_free_slow")]
pub(super) fn slow(cache: &Cache, object: NonNull<u8>) {
    let (slots, backend) = (cache.slots(), cache.backend);
    // SAFETY: the cache's own slots and backend; the object is the caller's to give.
    let is_there = backend.is_plain()
        && !callbacks::any_runs()
        && unsafe { seq::swap_full(slots) && seq::free(slots, object.as_ptr()) };
    if !is_there {
        give(cache, object);
    }
    in_use::note(cache);
}

#[inline(never)]
#[unsafe(link_section = "haybarn_free_slow")]
fn give(cache: &Cache, object: NonNull<u8>) {
    if cache.arena.nodes > 1 && give_at_home(cache, object) {
        return;
    }
    if callbacks::queue_free(cache, object, slow) {
        return;
    }
    let at = At::new(cache);
    let object = object.as_ptr();
    if at.is_remote(object) || !at.put_in_sheaves(object) {
        at.bump(Stat::FreeSlowpath, 1);
        at.free_to_slab(object);
    }
    at.settle();
}

/// With several nodes each free has to look whose object it has, so the inlined path always misses (`write_areas`). What would
/// have been a hit there is one here: the object is of this node's memory, and main has room.
fn give_at_home(cache: &Cache, object: NonNull<u8>) -> bool {
    let at = At::new(cache);
    if at.is_remote(object.as_ptr()) || !at.put_back(object.as_ptr()) {
        return false;
    }
    if cache.counts_hits {
        at.bump(Stat::FreeFastpath, 1);
    }
    true
}

impl At<'_> {
    /// An object of another node's memory does not go into a sheaf, unless its thread moves at the very moment (the kernel
    /// accepts that too).
    pub(super) fn is_remote(&self, object: *mut u8) -> bool {
        self.cache.arena.nodes > 1 && !self.is_of(object, self.home())
    }

    /// Puts an object on the CPU's main sheaf, uncounted; false where there is no room at hand.
    pub(super) fn put_back(&self, object: *mut u8) -> bool {
        let (cache, shape) = (self.cache, self.cache.shape);
        // SAFETY: the cache's own slots and backend; the object is the caller's to give.
        cache.has_sheaves() && unsafe { cache.backend.push(cache.slots(), &[object], shape.mask()) } == Ok(1)
    }

    #[unsafe(link_section = "haybarn_free_slow")]
    pub(super) fn put_in_sheaves(mut self, object: *mut u8) -> bool {
        let (cache, shape) = (self.cache, self.cache.shape);
        let (slots, backend) = (cache.slots(), cache.backend);
        if !cache.has_sheaves() {
            return false;
        }
        self.fold_hits();
        for _ in 0..TRIES {
            // SAFETY: the cache's own slots and backend, here and below; the object is the caller's to give.
            let pair = unsafe { backend.pair(slots, self.cpu()) };
            if pair.is_stopped() {
                self.recover();
                return false;
            }
            if shape.is_full(pair.main) {
                if !self.is_nolock() {
                    self.make_room(pair);
                } else if !self.make_room_cheaply(pair) {
                    return false;
                }
            }
            // SAFETY: as above.
            match unsafe { backend.push(slots, &[object], shape.mask()) } {
                Ok(1) => return self.hit_free(),
                Ok(_) => self.go_to(backend.cpu()),
                Err(_) => return false,
            }
            if self.is_remote(object) {
                return false;
            }
        }
        false
    }

    fn hit_free(&self) -> bool {
        if self.cache.counts_hits {
            self.bump(Stat::FreeFastpath, 1);
        }
        true
    }

    /// Changes a slot with a full main so that the next push finds room. A lost race is no harm: the next try looks again.
    #[unsafe(link_section = "haybarn_free_slow")]
    fn make_room(&self, pair: Pair) {
        let (shape, node) = (self.cache.shape, self.home());
        let has_spare = !pair.spare.is_null();
        if has_spare && !shape.is_full(pair.spare) {
            // SAFETY: the pair was read from this CPU's slot.
            unsafe { self.swap_pair(pair, Pair { main: pair.spare, spare: pair.main }) };
            return;
        }
        let room = self.cache.full_limit.saturating_sub(self.cache.barn(node).full(self.cache.form()));
        if has_spare && room == 0 {
            self.bump(Stat::BarnPutFail, 1);
            return self.flush_spare(pair);
        }
        // SAFETY: main was a sheaf's cursor when the pair was read.
        let empty = if has_spare && room > 1 && unsafe { Sheaf::is_filled_by_frees(pair.main, self.cache.shape) } {
            match self.two_empty(node) {
                (Some(first), Some(second)) => return self.install_two_empty(pair, first, second),
                (one, _) => one,
            }
        } else {
            self.barn_empty(node)
        };
        match empty.or_else(|| self.new_sheaf()) {
            Some(empty) => {
                self.install_empty(pair, empty);
            }
            None => self.flush_main(has_spare),
        }
    }

    /// Puts an empty sheaf in place of the full main, which becomes the spare, or goes to the barn where there is one. False: the
    /// slot had changed, and nothing was done.
    #[unsafe(link_section = "haybarn_free_slow")]
    pub(super) fn install_empty(&self, pair: Pair, empty: Sheaf) -> bool {
        let node = self.home();
        let has_spare = !pair.spare.is_null();
        empty.set_origin(self.cache.shape, true);
        let new = Pair { main: empty.cursor(), spare: if has_spare { pair.spare } else { pair.main } };
        // SAFETY: the sheaf is ours, the pair this CPU's.
        if !unsafe { self.swap_pair(pair, new) } {
            self.put_in_barn(node, empty);
            return false;
        }
        if has_spare {
            self.bump(Stat::BarnPut, 1);
            self.put_in_barn(node, self.sheaf_at(pair.main));
        }
        true
    }

    /// Puts two empty sheaves in place of main and spare, which go to the barn full. Only where frees have filled main: right after an
    /// allocation took two full sheaves, a free keeps one of them, so that neither goes to and fro.
    #[unsafe(link_section = "haybarn_free_slow")]
    fn install_two_empty(&self, pair: Pair, main: Sheaf, spare: Sheaf) {
        let node = self.home();
        [&main, &spare].into_iter().for_each(|empty| empty.set_origin(self.cache.shape, true));
        // SAFETY: the sheaves are ours, the pair this CPU's.
        if unsafe { self.swap_pair(pair, Pair { main: main.cursor(), spare: spare.cursor() }) } {
            self.bump(Stat::BarnPut, 2);
            self.put_two_full(node, self.sheaf_at(pair.main), self.sheaf_at(pair.spare));
        } else {
            self.put_two_empty(node, main, spare);
        }
    }

    /// Flushes the spare (main's objects are hotter) and makes it the empty main.
    #[cold]
    #[inline(never)]
    #[unsafe(link_section = "haybarn_flush")]
    fn flush_spare(&self, pair: Pair) {
        let without = Pair { main: pair.main, spare: null_mut() };
        // SAFETY: the pair is this CPU's; the displaced spare is ours.
        if unsafe { self.swap_pair(pair, without) } {
            let mut spare = self.sheaf_at(pair.spare);
            self.flush(&mut spare);
            // While it was flushed, another thread may have changed the slot: then the sheaf goes to the barn.
            self.install_empty(without, spare);
        }
    }

    /// No memory for an empty sheaf: makes room in main itself.
    #[cold]
    #[inline(never)]
    #[unsafe(link_section = "haybarn_flush")]
    fn flush_main(&self, has_spare: bool) {
        if has_spare {
            self.bump(Stat::BarnPutFail, 1);
        }
        let mut batch = [null_mut(); FLUSH_BATCH];
        // SAFETY: the cache's own slots; what is popped is ours.
        let taken = unsafe { self.cache.backend.pop(self.cache.slots(), &mut batch) }.unwrap_or(0);
        self.bump(Stat::SheafFlush, taken as u64);
        self.free_grouped(batch[..taken].iter().copied());
    }

    /// # Safety
    /// As [`crate::percpu::Backend::replace`], for the CPU that this operation is on.
    pub(super) unsafe fn swap_pair(&self, old: Pair, new: Pair) -> bool {
        // SAFETY: the caller's word.
        unsafe { self.cache.backend.replace(self.cache.slots(), self.cpu(), old, new) }
    }
}
