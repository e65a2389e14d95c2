//! Many objects at once. Source: `kmem_cache_alloc_bulk`, `free_to_pcs_bulk` (mm/slub.c).

use super::alloc::finish;
use super::ask::may_alloc;
use super::callbacks;
use super::construct::{Failed, check_alloc, outcome};
use super::header::Cache;
use super::in_use;
use super::options::AllocFlags;
use super::slabs::{At, Pages};
use crate::percpu::Pair;
use crate::stats::Stat;
use core::ptr::NonNull;

/// Rounds without progress before the slabs take over.
const TRIES: usize = 8;

/// What [`At::gather`] got, by where it lay, and how it ended: `Ok(None)` where memory is out.
pub(super) struct Gathered {
    pub in_sheaves: u64,
    pub in_slabs: u64,
    pub end: Result<Option<()>, Failed>,
}

/// Fills `out`. Where it cannot, it returns false, has no object, and what `out` holds means nothing; sheaves may be emptier.
#[unsafe(link_section = "haybarn_bulk")]
pub(super) fn alloc(cache: &Cache, flags: AllocFlags, out: &mut [*mut u8]) -> bool {
    if let Err(refused) = check_alloc(cache, flags) {
        return outcome::<()>(Err(refused)).is_some();
    }
    if !may_alloc(cache, out.len()) {
        return outcome::<()>(Ok(None)).is_some();
    }
    let mut at = At::new(cache);
    let Gathered { in_sheaves, in_slabs, end } = at.gather(flags, out, out.len(), true);
    in_use::note(cache);
    if !matches!(end, Ok(Some(()))) {
        // No allocation, no free: what came from sheaves was flushed to its slabs, what came from slabs was never counted.
        at.bump(Stat::SheafFlush, in_sheaves);
        at.settle();
        return outcome(end).is_some();
    }
    if cache.counts_hits {
        at.bump(Stat::AllocFastpath, in_sheaves);
    }
    at.bump(Stat::AllocSlowpath, in_slabs);
    if !flags.is_empty() {
        for object in out.iter().filter_map(|&object| NonNull::new(object)) {
            // Refused are only flags that `check_alloc` refused.
            let _same = finish(cache, object, flags);
        }
    }
    true
}

/// Gives the objects back; the slice is reordered.
#[unsafe(link_section = "haybarn_bulk")]
pub(super) fn free(cache: &Cache, objects: &mut [*mut u8]) {
    if callbacks::wait(cache) {
        objects.iter().filter_map(|&object| NonNull::new(object)).for_each(|object| super::free::slow(cache, object));
        return;
    }
    let mut at = At::new(cache);
    // Remote objects to the back: they go to their slabs, whatever becomes of the others.
    let mut local = objects.len();
    if cache.arena.nodes > 1 {
        let mut n = 0;
        while n < local {
            if at.is_remote(objects[n]) {
                local -= 1;
                objects.swap(n, local);
            } else {
                n += 1;
            }
        }
    }
    let given = at.bulk_to_sheaves(&objects[..local]);
    let rest = &objects[given..];
    if !rest.is_empty() {
        at.bump(Stat::FreeSlowpath, rest.len() as u64);
        at.free_grouped(rest.iter().copied());
    }
    at.settle();
    in_use::note(cache);
}

impl At<'_> {
    /// Fills `out` from the front: with what sheaves hold, if `sheaves` says so, then from slabs. With fewer than `least`
    /// objects, or a constructor that failed, all that was got is in its slab again. What moved is the caller's to count.
    #[inline(never)]
    #[unsafe(link_section = "haybarn_bulk")]
    pub(super) fn gather(&mut self, flags: AllocFlags, out: &mut [*mut u8], least: usize, sheaves: bool) -> Gathered {
        let strict = flags.contains(AllocFlags::THISNODE) && self.cache.arena.nodes > 1;
        // Whose memory is in sheaves is known of each object only.
        let in_sheaves = if sheaves && !strict { self.bulk_from_sheaves(out) } else { 0 };
        let node = self.home();
        let mut got = in_sheaves;
        let (mut short, fits) = u32::try_from(out.len() - got).map_or((0, false), |missing| (missing, true));
        let places = out.as_mut_ptr();
        let mut put = |object| {
            // SAFETY: `take_partial` and `take_new_slab` give at most as many objects as they were asked for.
            unsafe { *places.add(got) = object };
            got += 1;
        };
        if short > 0 {
            short -= self.take_partial(node, short, &mut put);
        }
        if short > 0 && !strict {
            for other in self.lenders(node) {
                short -= self.take_partial(other, short, &mut put);
                if short == 0 {
                    break;
                }
            }
        }
        let mut end = Ok(Some(()));
        let pages = if strict { Pages::OfNode } else { Pages::Any };
        while short > 0 {
            match self.take_new_slab(node, pages, short, &mut put) {
                Ok(0) => break,
                Ok(n) => short -= n,
                Err(failure) => {
                    end = Err(failure);
                    break;
                }
            }
        }
        for other in self.others(node).filter(|_| !strict) {
            if short > 0 && end.is_ok() {
                short -= self.take_partial(other, short, &mut put);
            }
        }
        if end.is_ok() && (got < least || !fits) {
            end = Ok(None);
        }
        if !matches!(end, Ok(Some(()))) {
            self.free_grouped(out[..got].iter().copied());
        }
        Gathered { in_sheaves: in_sheaves as u64, in_slabs: (got - in_sheaves) as u64, end }
    }

    /// Takes what main, spare and barn have, uncounted; returns how many. Does not refill sheaves: objects would be copied twice.
    #[unsafe(link_section = "haybarn_bulk")]
    fn bulk_from_sheaves(&mut self, out: &mut [*mut u8]) -> usize {
        let (cache, shape) = (self.cache, self.cache.shape);
        let (slots, backend) = (cache.slots(), cache.backend);
        if !cache.has_sheaves() {
            return 0;
        }
        self.fold_hits();
        let (mut got, mut idle) = (0, 0);
        while got < out.len() && idle < TRIES {
            // SAFETY: the cache's own slots and backend, here and below.
            let Ok(popped) = (unsafe { backend.pop(slots, &mut out[got..]) }) else { break };
            if popped > 0 {
                got += popped;
                continue;
            }
            idle += 1;
            self.go_to(backend.cpu());
            // SAFETY: as above.
            let pair = unsafe { backend.pair(slots, self.cpu()) };
            if pair.is_stopped() {
                break;
            }
            if !shape.is_empty(pair.main) {
                continue;
            }
            if !pair.spare.is_null() && !shape.is_empty(pair.spare) {
                // SAFETY: as above.
                unsafe { backend.replace(slots, self.cpu(), pair, Pair { main: pair.spare, spare: pair.main }) };
                continue;
            }
            let node = self.home();
            let Some(full) = self.barn_full(node) else {
                self.bump(Stat::BarnGetFail, 1);
                break;
            };
            self.bump(Stat::BarnGet, 1);
            let new = Pair { main: full.cursor(), spare: pair.spare };
            // SAFETY: as above; the sheaf is ours until the commit.
            let displaced =
                if unsafe { backend.replace(slots, self.cpu(), pair, new) } { self.sheaf_at(pair.main) } else { full };
            self.put_in_barn(node, displaced);
        }
        got
    }

    /// Puts objects from the front into sheaves; returns how many. Makes and flushes no sheaf.
    #[unsafe(link_section = "haybarn_bulk")]
    fn bulk_to_sheaves(&mut self, objects: &[*mut u8]) -> usize {
        let (cache, shape) = (self.cache, self.cache.shape);
        let (slots, backend) = (cache.slots(), cache.backend);
        if !cache.has_sheaves() {
            return 0;
        }
        self.fold_hits();
        let (mut given, mut idle) = (0, 0);
        while given < objects.len() && idle < TRIES {
            // SAFETY: the cache's own slots and backend; the objects are the caller's to give.
            let Ok(pushed) = (unsafe { backend.push(slots, &objects[given..], shape.mask()) }) else { break };
            if pushed > 0 {
                if cache.counts_hits {
                    self.bump(Stat::FreeFastpath, pushed as u64);
                }
                given += pushed;
                continue;
            }
            idle += 1;
            self.go_to(backend.cpu());
            // SAFETY: as above.
            let pair = unsafe { backend.pair(slots, self.cpu()) };
            if pair.is_stopped() {
                break;
            }
            if shape.is_full(pair.main) && !self.make_room_cheaply(pair) {
                break;
            }
        }
        given
    }

    /// As `make_room`, but only with what is there already.
    #[unsafe(link_section = "haybarn_bulk")]
    pub(super) fn make_room_cheaply(&self, pair: Pair) -> bool {
        let node = self.home();
        let has_spare = !pair.spare.is_null();
        if has_spare && !self.cache.shape.is_full(pair.spare) {
            // SAFETY: the pair was read from this CPU's slot.
            unsafe { self.swap_pair(pair, Pair { main: pair.spare, spare: pair.main }) };
            return true;
        }
        if has_spare && self.cache.barn(node).full(self.cache.form()) >= self.cache.full_limit {
            self.bump(Stat::BarnPutFail, 1);
            return false;
        }
        let Some(empty) = self.barn_empty(node) else {
            if has_spare {
                self.bump(Stat::BarnPutFail, 1);
            }
            return false;
        };
        self.install_empty(pair, empty);
        true
    }
}
