//! jemalloc (C), by its crate's `GlobalAlloc`, which frees with the size.

use super::malloc::{Malloc, peer};
use core::alloc::{GlobalAlloc, Layout};

/// jemalloc (C), by its crate's `GlobalAlloc`, which frees with the size.
pub struct Jemalloc;

// SAFETY: `GlobalAlloc` promises the same.
unsafe impl Malloc for Jemalloc {
    const CALLED: bool = true;

    #[inline(always)]
    unsafe fn malloc(layout: Layout) -> *mut u8 {
        // SAFETY: forwarded contract.
        unsafe { tikv_jemallocator::Jemalloc.alloc(layout) }
    }

    #[inline(always)]
    unsafe fn free(address: *mut u8, layout: Layout) {
        // SAFETY: forwarded contract.
        unsafe { tikv_jemallocator::Jemalloc.dealloc(address, layout) }
    }
}

peer!(Jemalloc, "jemalloc");
