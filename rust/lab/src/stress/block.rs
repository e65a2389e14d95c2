//! What the scenario `kmalloc` expects of memory, from what Linux promises, and the memory that a thread of it holds.

use crate::oracle::Tag;
use std::ptr::NonNull;

pub(super) const CLASSES: [usize; 13] = [8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192];
pub(super) const LARGEST_CLASS: usize = 8192;
pub(super) const LARGEST_RUN: usize = 4 << 20;
pub(super) const PAGE: usize = 4096;
/// What more than a run is aligned to.
const CHUNK: usize = 2 << 20;

/// The model: bytes that a request for `size` gets.
pub(super) fn rounded(size: usize) -> usize {
    match size {
        0 => 0,
        1..=LARGEST_CLASS => CLASSES.into_iter().find(|&class| class >= size).expect("the last is the largest"),
        _ if size <= LARGEST_RUN => size.next_power_of_two(),
        _ => size.next_multiple_of(PAGE),
    }
}

/// The model: what memory of so many bytes is aligned to.
pub(super) fn alignment(usable: usize) -> usize {
    if usable > LARGEST_RUN { CHUNK } else { 1 << usable.trailing_zeros() }
}

/// Memory that a thread holds: stamped over `size` bytes.
pub(super) struct Block {
    pub(super) memory: NonNull<u8>,
    pub(super) size: usize,
    pub(super) usable: usize,
    pub(super) tag: Tag,
    /// Everything behind `size` is zero: so it was asked for, ever since it was taken.
    pub(super) clean: bool,
    /// The thread that took it.
    pub(super) by: u32,
}

// SAFETY: memory that any thread may use and free, and the block is its only handle.
unsafe impl Send for Block {}
