//! Prefilled sheaves: objects set aside beforehand, so that taking them cannot fail.
//!
//! A sheaf that is out is its holder's alone: no CPU, no barn and no drain knows it. Taking an object touches the sheaf, the
//! object and one counter; no memory is asked for, no slot entered and no lock taken. A sheaf for more objects than the cache's
//! sheaves hold is *oversize*: it has memory of its own, of the metadata arena or of whole pages, and goes when it comes back.
//!
//! Source: `kmem_cache_prefill_sheaf`, `kmem_cache_alloc_from_sheaf`, `kmem_cache_refill_sheaf`, `kmem_cache_return_sheaf`
//! (mm/slub.c). Otherwise than there: every sheaf that goes out comes back under exactly one counter; a sheaf goes back to the
//! barn of the node where it was got; a return fills it up from partial slabs only, for who gives back asks for no memory.

use super::alloc::finish;
use super::bulk::Gathered;
use super::construct::{Failed, outcome};
use super::header::Cache;
use super::options::AllocFlags;
use super::raw::RawCache;
use super::slabs::At;
use crate::error::Error;
use crate::pages::NodeId;
use crate::percpu::Pair;
use crate::sheaf::{Shape, Sheaf};
use crate::stats::Stat;
use core::ptr::{NonNull, null_mut};

/// Tries at a slot that other threads keep changing.
const TRIES: usize = 8;
/// The most objects that a block of the sheaf pools has room for.
const MOST_IN_BLOCK: u32 = 1020;

/// A sheaf of a [`RawCache`] with objects set aside: [`RawPrefilled::alloc`] takes them and cannot fail as long as there are some.
///
/// Dropping it returns sheaf and objects to the cache, which is not destroyed while one is out. In the child of a fork it is the
/// child's own, as the objects in it are.
#[derive(Debug)]
#[must_use = "dropping it returns the sheaf"]
pub struct RawPrefilled {
    cache: RawCache,
    stack: Stack,
    /// Where its memory came from and goes back to.
    store: Store,
    /// The node of the CPU where it was got.
    node: NodeId,
}

// SAFETY: the sheaf is its holder's alone, and the objects in it are nobody's; any thread may be the holder.
unsafe impl Send for RawPrefilled {}
// SAFETY: through a shared reference it only tells numbers.
unsafe impl Sync for RawPrefilled {}

/// The object pointers of a sheaf that is out: `objects[..len]`, the last one goes first.
#[derive(Debug)]
struct Stack {
    objects: NonNull<*mut u8>,
    len: u32,
    capacity: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    /// A sheaf as the cache's others.
    Sheaf,
    /// A block of the pool for another shape.
    Block,
    /// Whole pages.
    Pages,
}

impl Store {
    fn is_oversize(self) -> bool {
        self != Self::Sheaf
    }
}

impl Stack {
    fn of(sheaf: &Sheaf, shape: Shape) -> Self {
        let first = shape.empty(shape.base(sheaf.cursor())).wrapping_add(1).cast();
        // SAFETY: a place inside the sheaf's block.
        let objects = unsafe { NonNull::new_unchecked(first) };
        Self { objects, len: sheaf.level(shape), capacity: shape.capacity }
    }

    /// The stack as a sheaf again; the word below its first object is null for as long as it is one.
    fn sheaf(&self) -> Sheaf {
        let cursor = self.objects.as_ptr().wrapping_add(self.len as usize).wrapping_sub(1);
        // SAFETY: the block is the caller's, and this was how its cursor came to be.
        unsafe { Sheaf::from_cursor(cursor.cast()) }
    }

    fn pop(&mut self) -> Option<NonNull<u8>> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: the first `len` places hold objects, one more than now.
        NonNull::new(unsafe { self.objects.add(self.len as usize).read() })
    }

    fn full(&self) -> &[*mut u8] {
        // SAFETY: the first `len` places hold objects.
        unsafe { core::slice::from_raw_parts(self.objects.as_ptr(), self.len as usize) }
    }

    /// The places above the objects; what is in them means nothing, but they are memory that was written or zeros.
    fn room(&mut self) -> &mut [*mut u8] {
        let (len, room) = (self.len as usize, (self.capacity - self.len) as usize);
        // SAFETY: the stack has `capacity` places.
        unsafe { core::slice::from_raw_parts_mut(self.objects.as_ptr().add(len), room) }
    }

    /// Fills the stack, so that it has at least `n` objects; with less than that it stays as it was.
    fn fill(&mut self, at: &mut At<'_>, flags: AllocFlags, n: u32, sheaves: bool) -> Result<Option<()>, Failed> {
        if n <= self.len {
            return Ok(Some(()));
        }
        let least = (n - self.len) as usize;
        let Gathered { in_sheaves, in_slabs, end } = at.gather(flags, self.room(), least, sheaves);
        match end {
            Ok(Some(())) => {
                at.bump(Stat::SheafRefill, in_slabs);
                self.len += (in_sheaves + in_slabs) as u32;
            }
            // What came from sheaves went to its slabs, as by a flush.
            _ => at.bump(Stat::SheafFlush, in_sheaves),
        }
        end
    }
}

impl RawCache {
    /// Sets `n` objects aside in a sheaf, so that taking `n` of them cannot fail; there may be more in it. Of the options only
    /// `THISNODE` means something here.
    ///
    /// Never blocks on another thread. With `n` up to the capacity of the cache's sheaves it takes the CPU's spare sheaf, else
    /// one of the barn, else a new one, and fills it up; above that (and always for a cache without sheaves) it makes an
    /// oversize one for `n`, all objects or none.
    ///
    /// # Errors
    /// [`Error::BadArgument`] when `n` is 0 or above `u32::MAX`; [`Error::OutOfMemory`], and nothing is lost. Where a
    /// constructor failed, [`crate::take_ctor_error`] says how.
    pub fn prefill(self, flags: AllocFlags, n: usize) -> Result<RawPrefilled, Error> {
        let n = count(self.header(), n)?;
        let at = At::new(self.header());
        let lent = at.lend(flags, n);
        at.settle();
        outcome(lent).ok_or_else(|| out_of_memory(self.header()))
    }
}

impl RawPrefilled {
    /// Takes an object; `None` only when the sheaf is empty. Of the options `ZERO` and `ACCOUNT` are honoured.
    #[inline]
    #[must_use]
    pub fn alloc(&mut self, flags: AllocFlags) -> Option<NonNull<u8>> {
        let object = self.stack.pop()?;
        let cache = self.cache.header();
        At::new(cache).bump(Stat::AllocPrefilled, 1);
        Some(if flags.is_empty() { object } else { finish(cache, object, flags) })
    }

    /// Objects that are left in it: as many [`RawPrefilled::alloc`]s cannot fail.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.stack.len as usize
    }

    /// Whether there are none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stack.len == 0
    }

    /// Objects that it has room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.stack.capacity as usize
    }

    /// Whether it has memory of its own, for more objects than the cache's sheaves have.
    #[must_use]
    pub fn is_oversize(&self) -> bool {
        self.store.is_oversize()
    }

    /// The cache that its objects are of.
    #[must_use]
    pub fn cache(&self) -> RawCache {
        self.cache
    }

    /// Sees to it that at least `n` objects are in the sheaf. A sheaf that is too small is exchanged for a new one.
    ///
    /// # Errors
    /// As [`RawCache::prefill`]; the sheaf is then as it was.
    pub fn refill(&mut self, flags: AllocFlags, n: usize) -> Result<(), Error> {
        let cache = self.cache.header();
        let wanted = count(cache, n)?;
        if wanted > self.stack.capacity {
            // The old one goes back where the new one takes its place.
            *self = self.cache.prefill(flags, n)?;
            return Ok(());
        }
        let (mut at, before) = (At::new(cache), self.stack.len);
        let filled = self.stack.fill(&mut at, flags, wanted, self.store.is_oversize());
        at.bump(Stat::SheafPrefillObjects, u64::from(self.stack.len - before));
        at.settle();
        outcome(filled).ok_or_else(|| out_of_memory(cache))
    }

    /// Returns the sheaf and what is left in it; the same as dropping it.
    pub fn give_back(self) {}
}

impl Drop for RawPrefilled {
    fn drop(&mut self) {
        let at = At::new(self.cache.header());
        at.bump(Stat::SheafReturnObjects, u64::from(self.stack.len));
        match self.store {
            Store::Sheaf => at.take_back(&mut self.stack, self.node),
            Store::Block | Store::Pages => at.end_oversize(&self.stack, self.store),
        }
        at.settle();
    }
}

/// The number of objects asked for, if it is legal.
fn count(cache: &Cache, n: usize) -> Result<u32, Error> {
    u32::try_from(n).ok().filter(|&n| n > 0).ok_or_else(|| Error::BadArgument {
        cache: cache.name().to_owned(),
        argument: "n",
        value: n.to_string(),
        legal: format!("1 to {} objects", u32::MAX),
    })
}

#[cold]
fn out_of_memory(cache: &Cache) -> Error {
    Error::OutOfMemory { cache: cache.name().to_owned(), what: "a prefilled sheaf" }
}

impl At<'_> {
    /// Counts a sheaf that goes out or comes back. By an atomic instruction on every backend: the cache's end relies on it.
    fn count_sheaf(&self, stat: Stat) {
        self.cache.stat(self.cpu, stat).add(1);
    }

    fn lend(mut self, flags: AllocFlags, n: u32) -> Result<Option<RawPrefilled>, Failed> {
        if n > self.cache.shape.capacity {
            return self.lend_oversize(flags, n);
        }
        let (got, stat) = match self.take_spare() {
            Some(spare) => (Some(spare), Stat::SheafPrefillFast),
            None => (self.take_any_sheaf(), Stat::SheafPrefillSlow),
        };
        let (Some(sheaf), node) = (got, self.home()) else { return Ok(None) };
        let mut stack = Stack::of(&sheaf, self.cache.shape);
        match stack.fill(&mut self, flags, n, false) {
            Ok(Some(())) => {}
            failed => {
                let mut sheaf = stack.sheaf();
                self.flush(&mut sheaf);
                self.drop_sheaf(sheaf);
                return failed.map(|_| None);
            }
        }
        Ok(Some(self.lent(stack, Store::Sheaf, node, stat)))
    }

    fn lent(&self, stack: Stack, store: Store, node: NodeId, stat: Stat) -> RawPrefilled {
        self.count_sheaf(stat);
        self.bump(Stat::SheafPrefillObjects, u64::from(stack.len));
        RawPrefilled { cache: RawCache::of(self.cache), stack, store, node }
    }

    /// The spare of the CPU that we are on, whatever it holds.
    fn take_spare(&mut self) -> Option<Sheaf> {
        let (slots, backend) = (self.cache.slots(), self.cache.backend);
        for _ in 0..TRIES {
            // SAFETY: the cache's own slots and backend, here and below; what is displaced is ours.
            let pair = unsafe { backend.pair(slots, self.cpu) };
            if pair.is_stopped() {
                self.recover();
                return None;
            }
            if pair.spare.is_null() {
                return None;
            }
            // SAFETY: as above.
            if unsafe { backend.replace(slots, self.cpu, pair, Pair { main: pair.main, spare: null_mut() }) } {
                return Some(self.sheaf_at(pair.spare));
            }
            self.cpu = backend.cpu();
        }
        None
    }

    fn take_any_sheaf(&self) -> Option<Sheaf> {
        let node = self.home();
        if let Some(full) = self.barn_full(node) {
            self.bump(Stat::BarnGet, 1);
            return Some(full);
        }
        self.bump(Stat::BarnGetFail, 1);
        self.barn_empty(node).or_else(|| self.new_sheaf())
    }

    fn lend_oversize(mut self, flags: AllocFlags, n: u32) -> Result<Option<RawPrefilled>, Failed> {
        let arena = self.cache.arena;
        // Memory for the pointers alone would be got where the system overcommits, and the process die of filling it.
        if n as usize > arena.pages.range().1 / self.cache.geometry.slab_size {
            return Ok(None);
        }
        let got = if n <= MOST_IN_BLOCK { self.oversize_block(n) } else { self.oversize_pages(n) };
        let (Some((mut stack, store)), node) = (got, self.home()) else { return Ok(None) };
        match stack.fill(&mut self, flags, n, true) {
            Ok(Some(())) => Ok(Some(self.lent(stack, store, node, Stat::SheafPrefillOversize))),
            failed => {
                self.free_oversize(&stack, store);
                failed.map(|_| None)
            }
        }
    }

    fn oversize_block(&self, n: u32) -> Option<(Stack, Store)> {
        let (shape, pages) = (Shape::new(n), &self.cache.arena.pages);
        let index = self.cache.arena.sheaf_pool(shape).take(pages.meta())?;
        // SAFETY: a block of the pool for this shape, ours alone.
        let sheaf = unsafe { Sheaf::in_block(pages.meta().at(index).cast().as_ptr(), shape) };
        self.bump(Stat::SheafAlloc, 1);
        Some((Stack::of(&sheaf, shape), Store::Block))
    }

    fn oversize_pages(&self, n: u32) -> Option<(Stack, Store)> {
        let run = self.cache.arena.alloc_pages(n as usize * size_of::<*mut u8>())?;
        self.bump(Stat::SheafAlloc, 1);
        Some((Stack { objects: run.cast(), len: 0, capacity: n }, Store::Pages))
    }

    /// Gives the memory of an oversize sheaf back, whose objects have gone elsewhere.
    fn free_oversize(&self, stack: &Stack, store: Store) {
        let arena = self.cache.arena;
        self.bump(Stat::SheafFree, 1);
        if store == Store::Pages {
            // SAFETY: the sheaf's own pages, which nobody uses any more.
            let given = unsafe { arena.free_pages(stack.objects.cast()) };
            assert!(given.is_ok(), "the pages of a sheaf were free already: the page bitmap is corrupt");
            return;
        }
        let shape = Shape::new(stack.capacity);
        let block = shape.base(stack.objects.as_ptr().cast());
        // SAFETY: a block is not null.
        let index = arena.pages.meta().index_of(unsafe { NonNull::new_unchecked(block.cast()) });
        arena.sheaf_pool(shape).put(arena.pages.meta(), index);
    }

    fn end_oversize(&self, stack: &Stack, store: Store) {
        if stack.len > 0 {
            self.bump(Stat::SheafFlush, u64::from(stack.len));
            self.free_grouped(stack.full().iter().rev().copied());
        }
        self.free_oversize(stack, store);
        self.count_sheaf(Stat::SheafReturnOversize);
    }

    /// A sheaf comes back: it becomes the spare where there is none, else goes full to the barn, else to the slabs and its pool.
    fn take_back(mut self, stack: &mut Stack, node: NodeId) {
        let sheaf = match self.put_as_spare(stack.sheaf(), node) {
            Ok(()) => return self.count_sheaf(Stat::SheafReturnFast),
            Err(sheaf) => sheaf,
        };
        self.count_sheaf(Stat::SheafReturnSlow);
        self.put_full_or_flush(sheaf, stack, node);
    }

    fn put_as_spare(&mut self, sheaf: Sheaf, node: NodeId) -> Result<(), Sheaf> {
        let (slots, backend) = (self.cache.slots(), self.cache.backend);
        for _ in 0..TRIES {
            // SAFETY: the cache's own slots and backend, here and below; the sheaf is ours until the commit.
            let pair = unsafe { backend.pair(slots, self.cpu) };
            if pair.is_stopped() || !pair.spare.is_null() || self.home() != node {
                break;
            }
            // SAFETY: as above.
            if unsafe { backend.replace(slots, self.cpu, pair, Pair { main: pair.main, spare: sheaf.cursor() }) } {
                return Ok(());
            }
            self.cpu = backend.cpu();
        }
        Err(sheaf)
    }

    fn put_full_or_flush(&self, mut sheaf: Sheaf, stack: &mut Stack, node: NodeId) {
        if self.cache.barn(node).full(self.cache.form()) < self.cache.full_limit {
            let missing = sheaf.room(self.cache.shape);
            if missing > 0 {
                let mut places = stack.room().iter_mut();
                let got = self.take_partial(node, missing, |object| {
                    if let Some(place) = places.next() {
                        *place = object;
                    }
                });
                self.bump(Stat::SheafRefill, u64::from(got));
                stack.len += got;
                sheaf = stack.sheaf();
            }
            if sheaf.room(self.cache.shape) == 0 {
                self.bump(Stat::BarnPut, 1);
                return self.put_in_barn(node, sheaf);
            }
        }
        self.bump(Stat::BarnPutFail, 1);
        self.flush(&mut sheaf);
        self.drop_sheaf(sheaf);
    }
}
