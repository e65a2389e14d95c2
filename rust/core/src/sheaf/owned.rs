//! A sheaf that one thread holds: neither in a slot nor in a barn.

use super::shape::Shape;

/// Word of the block's header that keeps the cursor while the sheaf lies in a barn.
const SAVED: usize = 1;

/// An owned sheaf. It has no destructor: a sheaf goes to a slot, a barn or its pool, and the type system cannot say which.
#[derive(Debug)]
#[must_use]
pub(crate) struct Sheaf {
    cursor: *mut u64,
    shape: Shape,
}

impl Sheaf {
    /// Makes a block from the pool an empty sheaf.
    ///
    /// # Safety
    /// The block is the caller's, and of the shape's size and alignment.
    pub unsafe fn in_block(block: *mut u64, shape: Shape) -> Self {
        let cursor = shape.empty(block);
        // SAFETY: inside the block. The pool may have had it as a sheaf of another capacity, so the end mark is written anew.
        unsafe { *cursor = 0 };
        Self { cursor, shape }
    }

    /// The sheaf whose cursor the caller took out of a slot.
    ///
    /// # Safety
    /// The sheaf is the caller's.
    pub unsafe fn from_cursor(cursor: *mut u64, shape: Shape) -> Self {
        Self { cursor, shape }
    }

    /// The sheaf that the caller took out of a barn.
    ///
    /// # Safety
    /// The block is the caller's, and [`Sheaf::save`] was its last use.
    pub unsafe fn from_saved(block: *mut u64, shape: Shape) -> Self {
        // SAFETY: the header is part of the block.
        Self { cursor: unsafe { *block.add(SAVED) } as *mut u64, shape }
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

    /// Writes the cursor into the block, for a barn; returns the block.
    pub fn save(self) -> *mut u64 {
        let block = self.block();
        // SAFETY: the sheaf is ours and the header part of its block.
        unsafe { *block.add(SAVED) = self.cursor as u64 };
        block
    }

    pub fn cursor(&self) -> *mut u64 {
        self.cursor
    }

    pub fn block(&self) -> *mut u64 {
        self.shape.base(self.cursor)
    }

    pub fn level(&self) -> u32 {
        self.shape.level(self.cursor)
    }

    pub fn is_empty(&self) -> bool {
        self.shape.is_empty(self.cursor)
    }

    pub fn room(&self) -> u32 {
        self.shape.capacity - self.level()
    }

    /// Puts an object on top; the caller checked that there is room.
    pub fn push(&mut self, object: *mut u8) {
        debug_assert!(self.room() > 0);
        self.cursor = self.cursor.wrapping_add(1);
        // SAFETY: there is room, so the word lies inside the block, which is ours.
        unsafe { *self.cursor = object as u64 };
    }

    /// Takes the top object.
    pub fn pop(&mut self) -> Option<*mut u8> {
        // SAFETY: the cursor points into our block; the word below the first object is null.
        let object = unsafe { *self.cursor } as *mut u8;
        if object.is_null() {
            return None;
        }
        self.cursor = self.cursor.wrapping_sub(1);
        Some(object)
    }

    /// The objects, bottom first.
    pub fn objects(&self) -> &[*mut u8] {
        let first = self.shape.empty(self.block()).wrapping_add(1);
        // SAFETY: the words up to the cursor hold object pointers, and the sheaf is ours.
        unsafe { core::slice::from_raw_parts(first.cast(), self.level() as usize) }
    }

    /// Forgets the objects, which the caller gave elsewhere.
    pub fn clear(&mut self) {
        self.cursor = self.shape.empty(self.block());
    }
}
