//! snmalloc (C++), by its crate's `GlobalAlloc`.

use super::malloc::{Malloc, peer};
use core::alloc::{GlobalAlloc, Layout};

/// snmalloc (C++), by its crate's `GlobalAlloc`.
pub struct SnMalloc;

// SAFETY: `GlobalAlloc` promises the same.
unsafe impl Malloc for SnMalloc {
    const CALLED: bool = true;

    #[inline(always)]
    unsafe fn malloc(layout: Layout) -> *mut u8 {
        // SAFETY: forwarded contract.
        unsafe { snmalloc_rs::SnMalloc.alloc(layout) }
    }

    #[inline(always)]
    unsafe fn free(address: *mut u8, layout: Layout) {
        // SAFETY: forwarded contract.
        unsafe { snmalloc_rs::SnMalloc.dealloc(address, layout) }
    }
}

peer!(SnMalloc, "snmalloc");
