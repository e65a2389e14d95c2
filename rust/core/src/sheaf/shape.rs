#![forbid(unsafe_code)]
//! A sheaf's shape: where in its block the object pointers lie, and what a cursor says.
//!
//! ```text
//! block (power of two, aligned to its size)
//! | link | saved cursor | .. | 0 | object 0 | object 1 | .. | object capacity-1 |
//!                              ^ empty cursor                ^ full cursor       ^ next block
//! ```

const WORD: usize = 8;
/// Words in front of the object pointers at least: link, saved cursor, one in reserve, and the null that ends the stack.
const HEADER_WORDS: usize = 4;

/// The shape of all sheaves of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub capacity: u32,
    /// Bytes of the block.
    pub block: usize,
}

impl Shape {
    /// The shape for a capacity of 1 to 1020 objects.
    pub fn new(capacity: u32) -> Self {
        let block = ((capacity as usize + HEADER_WORDS) * WORD).next_power_of_two().max(64);
        debug_assert!(block <= 8192);
        Self { capacity, block }
    }

    pub fn mask(self) -> usize {
        self.block - 1
    }

    /// The block that a cursor points into.
    pub fn base(self, cursor: *mut u64) -> *mut u64 {
        cursor.map_addr(|address| address & !self.mask())
    }

    /// The cursor of the empty sheaf at `base`.
    pub fn empty(self, base: *mut u64) -> *mut u64 {
        base.wrapping_byte_add(self.block - (self.capacity as usize + 1) * WORD)
    }

    /// How many objects lie under a cursor.
    pub fn level(self, cursor: *mut u64) -> u32 {
        ((cursor.addr() - self.empty(self.base(cursor)).addr()) / WORD) as u32
    }

    pub fn is_empty(self, cursor: *mut u64) -> bool {
        self.level(cursor) == 0
    }

    pub fn is_full(self, cursor: *mut u64) -> bool {
        (cursor.addr() + WORD) & self.mask() == 0
    }
}

#[cfg(all(test, not(loom)))]
#[path = "shape_tests.rs"]
mod tests;
