//! Freeing after a grace period: an object goes on its CPU's rcu sheaf, where nobody takes it until all readers that may
//! still see it have left.
//!
//! | step | where the object is | whose it is |
//! |---|---|---|
//! | `free_rcu` | the CPU's rcu sheaf, or a loose batch | the cache's; readers may look |
//! | the sheaf is full, or old | the cache's waiting sheaves, then its line | as above |
//! | a grace period later | the node's barn, or its slab | the cache's, to be handed out |
//!
//! Loose batches take what no rcu sheaf may: objects of another node, of caches without sheaves, and of CPUs whose slot
//! cannot be entered. Where there is no memory for one, the call waits for a grace period itself.
//!
//! Source: `__kfree_rcu_sheaf`, `kvfree_call_rcu` (mm/slab_common.c, mm/slub.c).

use super::at_fork::{Hands, hands};
use super::header::Cache;
use super::raw::RawCache;
use super::rcu_barrier::in_read_section;
use super::rcu_reclaim::{Backlog, LOOSE, relieve};
use super::rcu_service;
use super::slabs::At;
use crate::error::Error;
use crate::pages::NodeId;
use crate::percpu::{no_sheaf, seq, stop};
use crate::rcu;
use crate::sheaf::Sheaf;
use crate::stats::Stat;
use crate::sync::{Index, TaggedStack};
use core::ptr::NonNull;
use core::time::Duration;

/// See the constant of the same name in `alloc`.
const TRIES: usize = 8;
const MEMORY: &str = "free_rcu without memory for a batch";
/// What users are promised, a look of the service thread and a second for a busy machine included.
const _: () = assert!(RawCache::FREE_RCU_AGE.as_secs() <= 3);

impl RawCache {
    /// After this time at most, a batch of `free_rcu` that is not full waits for its grace period.
    pub const FREE_RCU_AGE: Duration = Duration::from_secs(2);

    /// Gives an object back once every RCU read section that has begun has ended: readers may look at it until then. Its
    /// contents stay as they are for so long, but for nothing: the free pointer is written afterwards.
    ///
    /// Objects are batched. A batch that is not full is handed over after at most [`RawCache::FREE_RCU_AGE`], even if nobody
    /// frees again. The call waits only where more batches wait for readers than the cache should keep (at most 10 ms), and
    /// where there is no memory for a batch (for a grace period); never inside a read section. Not for signal handlers.
    ///
    /// Source: `kfree_rcu` (K§2.17, 2.18).
    ///
    /// # Errors
    /// [`Error::InReadSection`]: no memory for a batch, and the thread is in a read section, so that waiting would never
    /// end. The object is as it was, the caller's.
    ///
    /// # Safety
    /// As [`RawCache::free`]: the object is the caller's, who gives it up. New readers cannot find it any more.
    #[inline(always)]
    pub unsafe fn free_rcu(self, object: NonNull<u8>) -> Result<(), Error> {
        // SAFETY: the caller's word.
        if unsafe { seq::free_rcu(self.slots(), object.as_ptr()) } {
            return Ok(());
        }
        slow(self.header(), object)
    }

    /// As [`RawCache::free_rcu`], for callers that must not wait: false where it would have to, and the object is as it was.
    ///
    /// # Safety
    /// As [`RawCache::free_rcu`], if it returns true.
    #[inline(always)]
    #[must_use]
    pub unsafe fn try_free_rcu(self, object: NonNull<u8>) -> bool {
        // SAFETY: the caller's word.
        let pushed = unsafe { seq::free_rcu(self.slots(), object.as_ptr()) };
        pushed || try_slow(self.header(), object)
    }

    /// As [`RawCache::free_rcu`], for many objects; the slice is used as scratch.
    ///
    /// # Errors
    /// As [`RawCache::free_rcu`]; then every object is as it was.
    ///
    /// # Safety
    /// As [`RawCache::free_rcu`], for each object; no object is there twice.
    pub unsafe fn free_rcu_bulk(self, objects: &mut [*mut u8]) -> Result<(), Error> {
        bulk(self.header(), objects)
    }

    /// Hands over what every CPU has, full or not: it is free a grace period later, without waiting for its age. Waits for no
    /// reader.
    #[doc(hidden)]
    pub fn rcu_flush(self) {
        let at = At::new(self.header());
        if self.header().rcu.is_used() && at.hand_over() {
            rcu_service::arm();
        }
    }

    /// Objects between their `free_rcu` and their reuse. Exact when the cache is quiet; never too few while others work.
    #[must_use]
    pub fn rcu_pending(self) -> u64 {
        At::new(self.header()).rcu_pending()
    }
}

#[cold]
#[inline(never)]
fn slow(cache: &Cache, object: NonNull<u8>) -> Result<(), Error> {
    if offer(cache, object, None) {
        if relieve(cache) == Backlog::Much && !rcu::is_reading() {
            At::new(cache).help();
        }
    } else {
        if rcu::is_reading() {
            return Err(in_read_section(MEMORY));
        }
        rcu::synchronize()?;
        At::new(cache).free_at_last(object.as_ptr());
    }
    At::new(cache).settle();
    Ok(())
}

#[cold]
#[inline(never)]
fn try_slow(cache: &Cache, object: NonNull<u8>) -> bool {
    // Who is in a read section could not wait anyway.
    let done = (relieve(cache) != Backlog::Much || rcu::is_reading()) && offer(cache, object, None);
    At::new(cache).settle();
    done
}

fn bulk(cache: &Cache, objects: &[*mut u8]) -> Result<(), Error> {
    let at = At::new(cache);
    // Inside a read section nothing may fail half-way: memory for all is there first.
    let mut reserve = Reserve { at: &at, first: 0 };
    let reading = rcu::is_reading();
    if reading && !reserve.take(objects.len()) {
        return Err(in_read_section(MEMORY));
    }
    let local = cache.arena.nodes == 1 && cache.has_sheaves();
    let mut rest = objects;
    while let Some((&object, others)) = rest.split_first() {
        // SAFETY: the cache's own slots; the objects are the caller's to give.
        let pushed = if local { unsafe { cache.backend.push_rcu(cache.slots(), rest, cache.shape.mask()) } } else { 0 };
        rest = &rest[pushed..];
        if pushed > 0 {
            continue;
        }
        match NonNull::new(object) {
            Some(object) if reading => {
                let given = offer(cache, object, Some(&mut reserve));
                assert!(given, "memory for every object was there first");
            }
            Some(object) => slow(cache, object)?,
            None => {}
        }
        rest = others;
    }
    drop(reserve);
    if reading {
        relieve(cache);
    }
    at.settle();
    Ok(())
}

/// Blocks for loose batches that are the caller's.
struct Reserve<'a> {
    at: &'a At<'a>,
    first: Index,
}

impl Reserve<'_> {
    /// Takes as many as `objects` may need.
    fn take(&mut self, objects: usize) -> bool {
        let batches = objects.div_ceil(LOOSE.capacity as usize) + self.at.cache.arena.nodes as usize - 1;
        (0..batches).all(|_| {
            let block = self.at.new_loose_block();
            if let Some(block) = block {
                TaggedStack::chain(&self.at.links(), block, self.first);
                self.first = block;
            }
            block.is_some()
        })
    }

    fn one(&mut self) -> Option<Index> {
        let block = (self.first != 0).then_some(self.first)?;
        self.first = TaggedStack::below(&self.at.links(), block);
        Some(block)
    }
}

impl Drop for Reserve<'_> {
    fn drop(&mut self) {
        while let Some(block) = self.one() {
            self.at.drop_loose_block(block);
        }
    }
}

/// Puts the object on an rcu sheaf or in a loose batch; false where there is no memory for either. Waits for no reader.
fn offer(cache: &Cache, object: NonNull<u8>, reserve: Option<&mut Reserve<'_>>) -> bool {
    let (at, object) = (At::new(cache), object.as_ptr());
    // First: once there is a sheaf, frees on its CPU go on by the fast path, and barriers have to see what they put there.
    cache.rcu.set_used();
    let hands = hands();
    let given = (!at.is_remote(object) && at.put_on_rcu_sheaf(object, &hands))
        || at.put_in_loose_batch(object, reserve, &hands);
    drop(hands);
    if given {
        rcu_service::arm();
    }
    given
}

impl At<'_> {
    fn put_on_rcu_sheaf(mut self, object: *mut u8, hands: &Hands) -> bool {
        let (cache, shape) = (self.cache, self.cache.shape);
        let (slots, backend) = (cache.slots(), cache.backend);
        if !cache.has_sheaves() {
            return false;
        }
        for _ in 0..TRIES {
            // SAFETY: the cache's own slots and backend, here and below; the object is the caller's to give.
            if unsafe { backend.push_rcu(slots, &[object], shape.mask()) } == 1 {
                return true;
            }
            self.go_to(backend.cpu());
            let node = self.home();
            // SAFETY: as above.
            let there = unsafe { backend.rcu(slots, self.cpu()) };
            if there == stop() || self.is_remote(object) {
                return false;
            }
            let none = there == no_sheaf();
            if !none && !shape.is_full(there) {
                continue;
            }
            let Some(mut sheaf) = self.barn_empty(node).or_else(|| self.new_sheaf()) else { return false };
            // SAFETY: an empty sheaf has room.
            unsafe { sheaf.push(object) };
            // From its slot to the stack inside a read section: a barrier that finds the full sheaf in neither place waits
            // for us.
            let _reading = rcu::read_lock();
            // SAFETY: as above; the sheaf is ours until the commit, what it displaces is ours afterwards.
            if unsafe { backend.replace_rcu(slots, self.cpu(), there, sheaf.cursor()) } {
                if !none {
                    self.queue(self.sheaf_at(there), node, hands);
                }
                return true;
            }
            sheaf.clear(shape);
            self.put_in_barn(node, sheaf);
        }
        false
    }

    fn put_in_loose_batch(&self, object: *mut u8, reserve: Option<&mut Reserve<'_>>, hands: &Hands) -> bool {
        let lists = &self.cache.rcu;
        let node = self.map_of(object).node();
        let open = self.cache.loose(node);
        let _line = lists.line();
        let mut batch = self.open_batch(node);
        if let Some(full) = batch.take_if(|batch| batch.room(LOOSE) == 0) {
            self.close_batch(full, node, hands);
        }
        if batch.is_none() {
            let block = self.new_loose_block().or_else(|| reserve?.one());
            batch = block.map(|block| self.loose_sheaf(block));
            if batch.is_some() {
                lists.open.add(1);
            }
        }
        let Some(mut batch) = batch else { return false };
        // SAFETY: a full one was queued.
        unsafe { batch.push(object) };
        open.set(batch.cursor().expose_provenance() as u64);
        self.bump(Stat::FreeRcuSheafFail, 1);
        true
    }

    /// The batch that is being filled for a node, if there is one. The line is locked.
    pub(super) fn open_batch(&self, node: NodeId) -> Option<Sheaf> {
        let cursor = self.cache.loose(node).get();
        (cursor != 0).then(|| self.sheaf_at(core::ptr::with_exposed_provenance_mut(cursor as usize)))
    }

    /// Puts the open batch of a node among the waiting sheaves. The line is locked.
    pub(super) fn close_batch(&self, batch: Sheaf, node: NodeId, hands: &Hands) {
        self.cache.loose(node).set(0);
        self.cache.rcu.open.sub(1);
        self.queue_loose(batch, node, hands);
    }

    /// After a grace period that the call itself has waited for.
    fn free_at_last(&self, object: *mut u8) {
        self.bump(Stat::FreeRcuSheafFail, 1);
        self.bump(Stat::FreeRcuDone, 1);
        self.bump(Stat::SheafFlush, 1);
        self.free_to_slab(object);
    }
}
