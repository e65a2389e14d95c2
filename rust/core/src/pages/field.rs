//! Aligned fields of bits in one word: the arithmetic of orders 0 to 6.

#![forbid(unsafe_code)]

/// Pages of one word, and the largest order that one word holds.
pub(super) const WORD_PAGES: u32 = 64;
pub(super) const WORD_ORDER: u8 = 6;

/// Bits at the places where a field of each order may start.
const STARTS: [u64; 7] = [
    !0,
    0x5555_5555_5555_5555,
    0x1111_1111_1111_1111,
    0x0101_0101_0101_0101,
    0x0001_0001_0001_0001,
    0x0000_0001_0000_0001,
    1,
];

/// The mask of the field of `order` (at most 6) that starts at bit `at`.
#[inline]
pub(super) const fn mask(order: u8, at: u32) -> u64 {
    (!0 >> (WORD_PAGES - (1 << order))) << at
}

/// Where the lowest aligned field of `order` starts that has no bit set in `taken`.
#[inline]
pub(super) fn find_free(taken: u64, order: u8) -> Option<u32> {
    // After step i a bit is set where 2^(i+1) free ones start.
    let free = (0..order).fold(!taken, |free, step| free & free >> (1 << step));
    let starts = free & STARTS[usize::from(order)];
    (starts != 0).then(|| starts.trailing_zeros())
}

#[cfg(test)]
#[path = "field_tests.rs"]
mod tests;
