//! No sequences in this build: every fast path misses, and the slow path takes the backend with a flag.

use super::slot::{Pair, Slots};

pub(crate) unsafe fn alloc(_: Slots) -> *mut u8 {
    core::ptr::null_mut()
}

pub(crate) unsafe fn free(_: Slots, _: *mut u8) -> bool {
    false
}

pub(crate) unsafe fn alloc_at(_: *const Slots) -> *mut u8 {
    core::ptr::null_mut()
}

pub(crate) unsafe fn free_at(_: *const Slots, _: *mut u8) -> bool {
    false
}

pub(crate) unsafe fn swap_empty(_: Slots) -> bool {
    false
}

pub(crate) unsafe fn swap_full(_: Slots) -> bool {
    false
}

pub(crate) unsafe fn alloc_counted(_: Slots) -> *mut u8 {
    core::ptr::null_mut()
}

pub(crate) unsafe fn free_counted(_: Slots, _: *mut u8) -> bool {
    false
}

pub(crate) unsafe fn free_rcu(_: Slots, _: *mut u8) -> bool {
    false
}

/// log2 of the distance from one CPU's counters to the next one's.
pub(crate) const AREA_SHIFT: usize = 9;

/// # Safety
/// Never called: only `rseq` adds by sequence.
pub(crate) unsafe fn add(_: *mut u64, _: u64) {
    unreachable!("a build without sequences has no rseq backend")
}

/// # Safety
/// `at` is valid and nobody else writes it meanwhile.
pub(crate) unsafe fn write_pair(at: *mut Pair, pair: Pair) {
    // SAFETY: the caller's word.
    unsafe { at.write_volatile(pair) };
}
