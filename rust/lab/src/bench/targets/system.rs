//! The C library's `malloc`, as `std::alloc::System` calls it.

use super::malloc::{Malloc, peer};
use core::alloc::{GlobalAlloc, Layout};

/// The C library's `malloc`, as `std::alloc::System` calls it.
pub struct System;

// SAFETY: `GlobalAlloc` promises the same.
unsafe impl Malloc for System {
    const CALLED: bool = true;

    #[inline(always)]
    unsafe fn malloc(layout: Layout) -> *mut u8 {
        // SAFETY: forwarded contract.
        unsafe { std::alloc::System.alloc(layout) }
    }

    #[inline(always)]
    unsafe fn free(address: *mut u8, layout: Layout) {
        // SAFETY: forwarded contract.
        unsafe { std::alloc::System.dealloc(address, layout) }
    }
}

peer!(System, "system");
