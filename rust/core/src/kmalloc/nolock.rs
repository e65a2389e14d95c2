//! The family from any context: see `cache::nolock`. Source: `kmalloc_nolock`, `kfree_nolock` (mm/slub.c), K§2.20.

use super::classes::{KMALLOC_MAX_CACHE_SIZE, SIZES, ZERO_SIZE_PTR, class_of};
use super::free::free_by;
use crate::cache::{AllocFlags, Arena, RawCache};
use crate::error::Error;
use core::ptr::NonNull;

/// Takes `size` bytes as [`RawCache::alloc_nolock`](crate::RawCache::alloc_nolock) does: for signal handlers, whatever they
/// interrupt, and for any other context. 0 bytes: [`ZERO_SIZE_PTR`]. Free it with [`kfree_nolock`], or outside of handlers with
/// [`kfree`](super::kfree).
///
/// `None`: memory is out, or pages would have to come from the system; more than
/// [`KMALLOC_MAX_CACHE_SIZE`](super::KMALLOC_MAX_CACHE_SIZE) bytes; a class that was never used (making its cache takes a lock, so
/// a program asks once for each size that its handlers will want). The next larger class is tried once, as in Linux; with
/// [`AllocFlags::ZERO`] all of [`ksize`](super::ksize) bytes are zero all the same (K§9 E9).
#[must_use]
pub fn kmalloc_nolock(arena: &'static Arena, size: usize, flags: AllocFlags) -> Option<NonNull<u8>> {
    by_size(arena, size, |cache| cache.alloc_nolock(flags))
}

/// As [`kmalloc_nolock`], of a node's memory: see [`RawCache::alloc_node_nolock`].
#[must_use]
pub fn kmalloc_node_nolock(arena: &'static Arena, size: usize, flags: AllocFlags, node: u32) -> Option<NonNull<u8>> {
    by_size(arena, size, |cache| cache.alloc_node_nolock(flags, node))
}

fn by_size(arena: &'static Arena, size: usize, alloc: impl Fn(RawCache) -> Option<NonNull<u8>>) -> Option<NonNull<u8>> {
    match size {
        0 => Some(ZERO_SIZE_PTR),
        1..=KMALLOC_MAX_CACHE_SIZE => {
            let of_class = |at: usize| alloc(arena.kept(at)?);
            let class = class_of(size);
            of_class(class).or_else(|| (class + 1 < SIZES.len()).then(|| of_class(class + 1)).flatten())
        }
        _ => None,
    }
}

/// Gives memory of [`kmalloc_nolock`] back, or of any other function of the family, as
/// [`RawCache::free_nolock`](crate::RawCache::free_nolock) does. Null and [`ZERO_SIZE_PTR`]: nothing happens. Large pages, which
/// Linux leaks here, go back to the arena: two atomic steps, and nothing to the system.
///
/// # Panics
/// As [`kfree`](super::kfree).
///
/// # Safety
/// As [`kfree`](super::kfree).
pub unsafe fn kfree_nolock(arena: &'static Arena, object: *mut u8) {
    // SAFETY: the caller's word.
    if let Err(error) = unsafe { try_kfree_nolock(arena, object) } {
        panic!("{error}");
    }
}

/// [`kfree_nolock`] with an error where that panics: see [`try_kfree`](super::try_kfree).
///
/// # Errors
/// As [`try_kfree`](super::try_kfree).
///
/// # Safety
/// As [`try_kfree`](super::try_kfree).
pub unsafe fn try_kfree_nolock(arena: &'static Arena, object: *mut u8) -> Result<(), Error> {
    // SAFETY: the caller's word.
    unsafe { free_by(arena, object, |cache, object| cache.free_nolock(object)) }
}
