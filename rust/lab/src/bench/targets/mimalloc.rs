//! mimalloc (C), by its crate's `GlobalAlloc`.

use super::malloc::{Malloc, peer};
use core::alloc::{GlobalAlloc, Layout};

/// mimalloc (C), by its crate's `GlobalAlloc`.
pub struct MiMalloc;

// SAFETY: `GlobalAlloc` promises the same.
unsafe impl Malloc for MiMalloc {
    const CALLED: bool = true;

    #[inline(always)]
    unsafe fn malloc(layout: Layout) -> *mut u8 {
        // SAFETY: forwarded contract.
        unsafe { mimalloc::MiMalloc.alloc(layout) }
    }

    #[inline(always)]
    unsafe fn free(address: *mut u8, layout: Layout) {
        // SAFETY: forwarded contract.
        unsafe { mimalloc::MiMalloc.dealloc(address, layout) }
    }
}

peer!(MiMalloc, "mimalloc");
