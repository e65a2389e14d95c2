//! rusty_alloc, a remake of mimalloc 2 in Rust: the one general allocator that can be inlined here.

use super::malloc::{Malloc, peer};
use core::alloc::Layout;

/// rusty_alloc by the functions that its own `GlobalAlloc` crate inlines.
pub struct RustyAlloc;

// SAFETY: `malloc` gives blocks aligned to 8 at least, the only alignment that is asked for; frees from any thread are its own promise.
unsafe impl Malloc for RustyAlloc {
    const CALLED: bool = false;

    #[inline(always)]
    unsafe fn malloc(layout: Layout) -> *mut u8 {
        debug_assert!(layout.align() <= 8);
        rusty_alloc::alloc::malloc(layout.size())
    }

    #[inline(always)]
    unsafe fn free(address: *mut u8, _layout: Layout) {
        // SAFETY: forwarded contract.
        unsafe { rusty_alloc::alloc::free_inline_flags_first(address) }
    }
}

peer!(RustyAlloc, "rusty_alloc");
