//! A sheaf that one thread holds: neither in a slot nor in a barn.

use super::shape::Shape;
use core::ptr::NonNull;

/// Word of the block's header that keeps the cursor while the sheaf lies in a barn.
const SAVED: usize = 1;

/// Word of the header that says what a saved sheaf waits for.
const DUE: usize = 2;

/// Word of the header that says where a sheaf in a slot has its objects from. None of these waits for anything.
const ORIGIN: usize = DUE;

/// In [`ORIGIN`]: frees put them there, for the sheaf came empty into the slot.
const FILLED_BY_FREES: u64 = 1;

/// An owned sheaf: its cursor, so that it passes in a register. The cache knows its shape. It has no destructor: a sheaf goes
/// to a slot, a barn or its pool, and the type system cannot say which.
#[derive(Debug)]
#[must_use]
#[repr(transparent)]
pub(crate) struct Sheaf(NonNull<u64>);

impl Sheaf {
    /// Makes a block from the pool an empty sheaf.
    ///
    /// # Safety
    /// The block is the caller's, and of the shape's size and alignment.
    pub unsafe fn in_block(block: *mut u64, shape: Shape) -> Self {
        let cursor = shape.empty(block);
        // SAFETY: inside the block. The pool may have had it as a sheaf of another capacity, so the words are written anew.
        unsafe {
            *cursor = 0;
            *block.add(ORIGIN) = 0;
            Self::from_cursor(cursor)
        }
    }

    /// The sheaf whose cursor the caller took out of a slot.
    ///
    /// # Safety
    /// The sheaf is the caller's.
    pub unsafe fn from_cursor(cursor: *mut u64) -> Self {
        debug_assert!(!cursor.is_null());
        // SAFETY: a cursor points into a block.
        Self(unsafe { NonNull::new_unchecked(cursor) })
    }

    /// The sheaf that the caller took out of a barn.
    ///
    /// # Safety
    /// The block is the caller's, and [`Sheaf::save`] was its last use.
    pub unsafe fn from_saved(block: *mut u64) -> Self {
        // SAFETY: the header is part of the block.
        unsafe { Self::from_cursor(*block.add(SAVED) as *mut u64) }
    }

    /// How many objects a sheaf had when it was last saved: a guess about a sheaf that may have moved on, exact for one that
    /// lies quietly in a barn.
    ///
    /// # Safety
    /// The block is one of the pool's.
    pub unsafe fn saved_level(block: *mut u64, shape: Shape) -> u32 {
        // SAFETY: the header is part of the block, whose memory stays.
        let cursor = unsafe { block.add(SAVED).read_volatile() } as *mut u64;
        let offset = cursor.addr().wrapping_sub(shape.empty(block).addr());
        if offset < shape.block { (offset / 8) as u32 } else { 0 }
    }

    /// Shows the `level` lowest object pointers of a block, which may be anybody's sheaf, or another one by now.
    ///
    /// # Safety
    /// As [`Sheaf::saved_level`].
    pub unsafe fn peek(block: *mut u64, level: u32, shape: Shape, mut look: impl FnMut(*mut u8)) {
        let first = shape.empty(block).wrapping_add(1);
        for n in 0..level.min(shape.capacity) as usize {
            // SAFETY: the words behind the empty cursor are part of the block, whose memory stays.
            let object = unsafe { first.add(n).read_volatile() };
            look(core::ptr::without_provenance_mut(object as usize));
        }
    }

    /// Writes the cursor into the block, for a barn; returns the block.
    pub fn save(self, shape: Shape) -> *mut u64 {
        let block = shape.base(self.cursor());
        // SAFETY: the sheaf is ours and the header part of its block.
        unsafe { *block.add(SAVED) = self.cursor() as u64 };
        block
    }

    /// Writes what it waits for into the block of a saved sheaf.
    ///
    /// # Safety
    /// The block is the caller's, and a sheaf.
    pub unsafe fn set_due(block: *mut u64, due: u64) {
        // SAFETY: the header is part of the block.
        unsafe { *block.add(DUE) = due };
    }

    /// What [`Sheaf::set_due`] wrote.
    ///
    /// # Safety
    /// As there.
    pub unsafe fn due(block: *mut u64) -> u64 {
        // SAFETY: as above.
        unsafe { *block.add(DUE) }
    }

    /// Marks a sheaf that is about to go to a slot: empty, for frees to fill, or with objects from elsewhere.
    pub fn set_origin(&self, shape: Shape, filled_by_frees: bool) {
        let origin = shape.base(self.cursor()).wrapping_add(ORIGIN);
        // SAFETY: the sheaf is ours and the header part of its block; others may look meanwhile.
        unsafe { origin.write_volatile(if filled_by_frees { FILLED_BY_FREES } else { 0 }) };
    }

    /// Whether frees alone brought what is under the cursor of a slot's sheaf: a guess about one that may have moved on.
    ///
    /// # Safety
    /// The cursor is, or was, one of a sheaf.
    pub unsafe fn is_filled_by_frees(cursor: *mut u64, shape: Shape) -> bool {
        // SAFETY: the header is part of the block, whose memory stays.
        unsafe { shape.base(cursor).wrapping_add(ORIGIN).read_volatile() == FILLED_BY_FREES }
    }

    pub fn cursor(&self) -> *mut u64 {
        self.0.as_ptr()
    }

    pub fn level(&self, shape: Shape) -> u32 {
        shape.level(self.cursor())
    }

    pub fn is_empty(&self) -> bool {
        self.top().is_null()
    }

    pub fn room(&self, shape: Shape) -> u32 {
        shape.capacity - self.level(shape)
    }

    fn top(&self) -> *mut u8 {
        // SAFETY: the cursor points into our block; the word below the first object is null.
        unsafe { *self.cursor() as *mut u8 }
    }

    /// Puts an object on top.
    ///
    /// # Safety
    /// The sheaf has room.
    pub unsafe fn push(&mut self, object: *mut u8) {
        // SAFETY: there is room, so the next word lies inside the block, which is ours.
        unsafe {
            self.0 = self.0.add(1);
            *self.cursor() = object as u64;
        }
    }

    /// Takes the top object.
    pub fn pop(&mut self) -> Option<NonNull<u8>> {
        let object = NonNull::new(self.top())?;
        // SAFETY: there is an object, so the word below is inside the block.
        self.0 = unsafe { self.0.sub(1) };
        Some(object)
    }

    /// The objects, bottom first.
    pub fn objects(&self, shape: Shape) -> &[*mut u8] {
        let first = shape.empty(shape.base(self.cursor())).wrapping_add(1);
        // SAFETY: the words up to the cursor hold object pointers, and the sheaf is ours.
        unsafe { core::slice::from_raw_parts(first.cast(), self.level(shape) as usize) }
    }

    /// Forgets the objects, which the caller gave elsewhere.
    pub fn clear(&mut self, shape: Shape) {
        let empty = shape.empty(shape.base(self.cursor()));
        // SAFETY: a place inside the block.
        self.0 = unsafe { NonNull::new_unchecked(empty) };
    }
}

#[cfg(all(test, not(loom)))]
#[path = "owned_tests.rs"]
mod tests;
