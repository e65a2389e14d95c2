//! The metadata arena: descriptors, sheaves and barns live here, never next to user data, and are never given back.

use super::ids::PAGE_SIZE;
use super::source::Source;
use crate::inject::{self, Point};
use crate::os::mem::{Mapping, reserve_halving};
use crate::sync::{Counter, Index, Published};
use core::ptr::NonNull;
use std::io;

/// Bytes that one index stands for, and the least alignment of anything here: a cache line.
pub(crate) const UNIT: usize = 64;
/// The most that 32-bit indices reach, 256 GiB.
const LARGEST: usize = UNIT << 32;
/// Enough for the metadata of the smallest arena.
const SMALLEST: usize = 16 << 20;

/// A range that is handed out from its low end up. Index 0 is "none".
pub(crate) struct Meta {
    range: Mapping,
    next: Published,
    source: Source,
    refused: Counter,
}

impl Meta {
    pub(super) fn new(source: Source, wish: usize) -> io::Result<Self> {
        let range = reserve_halving(wish.clamp(SMALLEST, LARGEST), SMALLEST, Mapping::anonymous)?;
        Ok(Self { range, next: Published::new(UNIT as u64), source, refused: Counter::new() })
    }

    /// Takes `bytes` (rounded up to 64), aligned to `align` (a power of two, at most 2 MiB), all zeros.
    ///
    /// `None`: a fault or the page source refused, or the range is full.
    pub fn alloc(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        if !inject::request(Point::Metadata, bytes) {
            self.refused.add(1);
            return None;
        }
        self.grow(bytes, align)
    }

    /// As [`Meta::alloc`] for who has asked already whether its request may be granted.
    pub(super) fn grow(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        debug_assert!(align.is_power_of_two() && align <= crate::os::mem::HUGE_PAGE);
        if !self.source.pages().grant(bytes.div_ceil(PAGE_SIZE)) {
            self.refused.add(1);
            return None;
        }
        let (bytes, align) = (bytes.checked_next_multiple_of(UNIT)?, align.max(UNIT));
        let mut next = self.next.read();
        loop {
            let start = (next as usize).next_multiple_of(align);
            let end = start.checked_add(bytes).filter(|&end| end <= self.range.len())?;
            match self.next.publish_if(next, end as u64) {
                Ok(()) => return Some(self.at((start / UNIT) as Index)),
                Err(now) => next = now,
            }
        }
    }

    /// The index of an address that [`Meta::alloc`] gave, or one a multiple of 64 bytes further.
    #[inline]
    pub fn index_of(&self, address: NonNull<u8>) -> Index {
        let offset = address.addr().get() - self.range.base().addr().get();
        debug_assert!(offset < self.range.len() && offset.is_multiple_of(UNIT));
        (offset / UNIT) as Index
    }

    /// The address that `index` stands for.
    #[inline]
    pub fn at(&self, index: Index) -> NonNull<u8> {
        debug_assert!(index as usize * UNIT < self.range.len());
        let address = self.range.base().as_ptr().wrapping_add(index as usize * UNIT);
        // SAFETY: the sum cannot wrap to null: a user address is below 2^56 and an index adds less than 2^38.
        unsafe { NonNull::new_unchecked(address) }
    }

    /// Bytes handed out so far.
    pub fn used(&self) -> usize {
        self.next.read() as usize
    }

    /// Requests that a fault or the page source refused.
    pub fn refused(&self) -> u64 {
        self.refused.get()
    }
}

#[cfg(all(test, not(loom)))]
#[path = "meta_tests.rs"]
mod tests;
