//! No sequences in this build: every fast path misses, and the slow path takes the backend with a flag.

use super::slot::{Pair, Slots};

pub(crate) unsafe fn alloc(_: Slots) -> *mut u8 {
    core::ptr::null_mut()
}

pub(crate) unsafe fn free(_: Slots, _: *mut u8) -> bool {
    false
}

pub(crate) unsafe fn alloc_counted(_: Slots) -> *mut u8 {
    core::ptr::null_mut()
}

pub(crate) unsafe fn free_counted(_: Slots, _: *mut u8) -> bool {
    false
}

/// # Safety
/// `at` is valid and nobody else writes it meanwhile.
pub(crate) unsafe fn write_pair(at: *mut Pair, pair: Pair) {
    // SAFETY: the caller's word.
    unsafe { at.write_volatile(pair) };
}
