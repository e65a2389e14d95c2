//! The object pointers of a sheaf that is out, the memory that they lie in, and how the cache's end finds them.
//!
//! Nobody but its holder knows a sheaf that is out, and nothing is written down where others would have to wait for it. Yet a
//! cache that is refused its end names the objects that were handed out, and those in prefilled sheaves were not. So a block
//! that is out bears a mark in its header, made of its address, its cache and its capacity, and pages bear the cache's id in
//! the page map; `taken_out` looks for both. The objects end with a null, which taking one moves down.

use super::construct::Failed;
use super::header::Cache;
use super::options::AllocFlags;
use super::raw::RawCache;
use super::slabs::At;
use crate::pages::{MapWord, NodeId, PageIndex, PageKind, UNIT};
use crate::sheaf::{Shape, Sheaf};
use crate::stats::Stat;
use crate::sync::Index;
use core::ptr::{NonNull, null_mut};
use std::collections::HashSet;

/// The most objects that a block of the sheaf pools has room for.
const MOST_IN_BLOCK: u32 = 1020;
/// Word of a block's header that bears the mark.
const MARK: usize = 2;

/// `objects[..len]`, the last one goes first. Those in use are followed by a null, unless they reach the end of the block.
#[derive(Debug)]
pub(super) struct Stack {
    objects: NonNull<*mut u8>,
    pub len: u32,
    pub capacity: u32,
    store: Store,
}

/// Where a stack's memory came from and goes back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    /// A sheaf as the cache's others.
    Sheaf,
    /// A block of the pool for another shape.
    Block,
    /// Whole pages.
    Pages,
}

impl Stack {
    /// The stack of a sheaf of the cache, which is out from now on.
    pub fn of(cache: &Cache, sheaf: &Sheaf) -> Self {
        Self::in_block(cache, sheaf, cache.shape, Store::Sheaf)
    }

    fn in_block(cache: &Cache, sheaf: &Sheaf, shape: Shape, store: Store) -> Self {
        let block = shape.base(sheaf.cursor());
        let first = shape.empty(block).wrapping_add(1).cast();
        // SAFETY: the block is ours, header and all; a place inside it is not null.
        let objects = unsafe {
            *block.add(MARK) = mark(cache, block.addr(), shape.capacity);
            NonNull::new_unchecked(first)
        };
        let mut stack = Self { objects, len: sheaf.level(shape), capacity: shape.capacity, store };
        stack.close();
        stack
    }

    /// An empty stack for `n` objects with memory of its own.
    pub fn oversize(at: &At<'_>, n: u32) -> Option<Self> {
        let made = if n <= MOST_IN_BLOCK { Self::own_block(at, n) } else { Self::own_pages(at, n) };
        at.bump(Stat::SheafAlloc, u64::from(made.is_some()));
        made
    }

    fn own_block(at: &At<'_>, n: u32) -> Option<Self> {
        let (shape, meta) = (Shape::new(n), at.cache.arena.pages.meta());
        let index = at.cache.arena.sheaf_pool(shape).take(meta)?;
        // SAFETY: a block of the pool for this shape, ours alone.
        let sheaf = unsafe { Sheaf::in_block(meta.at(index).cast().as_ptr(), shape) };
        Some(Self::in_block(at.cache, &sheaf, shape, Store::Block))
    }

    /// One place more than there are objects, for the null.
    fn own_pages(at: &At<'_>, n: u32) -> Option<Self> {
        let (arena, bytes) = (at.cache.arena, (n as usize + 1) * size_of::<*mut u8>());
        let run = arena.alloc_pages(bytes)?;
        set_owner(at, run, at.cache.id);
        let objects: NonNull<*mut u8> = run.cast();
        // SAFETY: the pages are ours and have that place.
        unsafe { objects.add(n as usize).write(null_mut()) };
        let mut stack = Self { objects, len: 0, capacity: n, store: Store::Pages };
        stack.close();
        Some(stack)
    }

    /// Whether its memory is its own, not a sheaf of the cache.
    pub fn is_oversize(&self) -> bool {
        self.store != Store::Sheaf
    }

    /// The stack of a sheaf of the cache as that sheaf, which is not out any more.
    pub fn sheaf(&self, shape: Shape) -> Sheaf {
        debug_assert_eq!(self.store, Store::Sheaf);
        let cursor = self.objects.as_ptr().wrapping_add(self.len as usize).wrapping_sub(1).cast();
        // SAFETY: the block is ours, and this was how its cursor came to be: the word below the first object is null.
        unsafe {
            *shape.base(cursor).add(MARK) = 0;
            Sheaf::from_cursor(cursor)
        }
    }

    /// Gives the memory of an oversize stack back, whose objects have gone elsewhere.
    pub fn free(&self, at: &At<'_>) {
        let arena = at.cache.arena;
        at.bump(Stat::SheafFree, 1);
        if self.store == Store::Pages {
            // Only what bears no mark can be given back by its address.
            set_owner(at, self.objects.cast(), 0);
            // SAFETY: the stack's own pages, which nobody uses any more.
            let given = unsafe { arena.free_pages(self.objects.cast()) };
            assert!(given.is_ok(), "the pages of a sheaf were free already: the page bitmap is corrupt");
            return;
        }
        debug_assert_eq!(self.store, Store::Block);
        let (shape, meta) = (Shape::new(self.capacity), arena.pages.meta());
        let block = shape.base(self.objects.as_ptr().cast());
        // SAFETY: the block is ours until it is in the pool, and not null.
        let index = unsafe {
            *block.add(MARK) = 0;
            meta.index_of(NonNull::new_unchecked(block.cast()))
        };
        arena.sheaf_pool(shape).put(meta, index);
    }

    #[inline]
    pub fn pop(&mut self) -> Option<NonNull<u8>> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: the first `len` places hold objects, one more than now.
        NonNull::new(unsafe { self.objects.add(self.len as usize).replace(null_mut()) })
    }

    pub fn all(&self) -> &[*mut u8] {
        // SAFETY: the first `len` places hold objects.
        unsafe { core::slice::from_raw_parts(self.objects.as_ptr(), self.len as usize) }
    }

    /// The places above the objects; what is in them means nothing, but it is memory that was written, or zeros. Whoever fills
    /// them ends with [`Stack::grow`].
    pub fn room(&mut self) -> &mut [*mut u8] {
        let (len, room) = (self.len as usize, (self.capacity - self.len) as usize);
        // SAFETY: the stack has `capacity` places.
        unsafe { core::slice::from_raw_parts_mut(self.objects.as_ptr().add(len), room) }
    }

    /// The first `n` places of the room hold objects now.
    pub fn grow(&mut self, n: u32) {
        debug_assert!(n <= self.capacity - self.len);
        self.len += n;
        self.close();
    }

    fn close(&mut self) {
        if let Some(above) = self.room().first_mut() {
            *above = null_mut();
        }
    }

    /// Fills the stack, so that it has at least `n` objects; with less than that it stays as it was. An oversize one takes what
    /// lies in the CPU's sheaves too.
    pub fn fill(&mut self, at: &mut At<'_>, flags: AllocFlags, n: u32) -> Result<Option<()>, Failed> {
        if n <= self.len {
            return Ok(Some(()));
        }
        let (least, sheaves) = ((n - self.len) as usize, self.is_oversize());
        let got = at.gather(flags, self.room(), least, sheaves);
        if matches!(got.end, Ok(Some(()))) {
            at.bump(Stat::SheafRefill, got.in_slabs);
            self.grow((got.in_sheaves + got.in_slabs) as u32);
        } else {
            // What came from sheaves went to its slabs, as by a flush.
            at.bump(Stat::SheafFlush, got.in_sheaves);
            self.close();
        }
        got.end
    }
}

/// Writes the id of the cache whose pages start there into the page map; 0: nobody's in particular.
fn set_owner(at: &At<'_>, pages: NonNull<u8>, cache: u16) {
    let map = &at.cache.arena.pages;
    if let Some(page) = map.page_of(pages.addr().get()) {
        let word = map.map(page);
        map.set_map(page, 1, MapWord::new(word.kind(), word.order(), NodeId(0), cache, 0));
    }
}

/// What a block bears while it is out: no word of any other use, unless by a chance of 2^-38.
fn mark(cache: &Cache, block: usize, capacity: u32) -> u64 {
    let salt = (block as u64 ^ cache.slots().0.addr() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (salt & !0xffff) | u64::from(capacity)
}

/// Addresses of the objects in the prefilled sheaves of a quiet cache that are out.
pub(super) fn taken_out(cache: &Cache) -> HashSet<usize> {
    let mut found = HashSet::new();
    let (pages, raw) = (&cache.arena.pages, RawCache::of(cache));
    let mut add = |first: *const *mut u8, most: usize| {
        for n in 0..most {
            // SAFETY: memory of the arena, that of a sheaf; volatile, as its holder may be at work against all promises.
            let object = unsafe { first.add(n).read_volatile() };
            if object.is_null() || raw.check(object).is_err() {
                break;
            }
            found.insert(object.addr());
        }
    };
    let meta = pages.meta();
    for unit in 1..(meta.used() / UNIT) as Index {
        let block = meta.at(unit).cast::<u64>().as_ptr();
        // SAFETY: metadata that was handed out stays; whatever it is, it is read as words that mean nothing if they do not match.
        let word = unsafe { block.add(MARK).read_volatile() };
        let capacity = (word & 0xffff) as u32;
        if !(1..=MOST_IN_BLOCK).contains(&capacity) || word != mark(cache, block.addr(), capacity) {
            continue;
        }
        let shape = Shape::new(capacity);
        add(shape.empty(block).wrapping_add(1).cast(), capacity as usize);
    }
    for page in (0..pages.used_pages()).map(PageIndex) {
        let word = pages.map(page);
        if matches!(word.kind(), PageKind::Run | PageKind::Span) && word.cache() == cache.id {
            add(pages.address(page).cast(), usize::MAX);
        }
    }
    found
}
