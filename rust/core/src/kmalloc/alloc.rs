//! Taking memory by its size.

use super::classes::{
    KMALLOC_MAX_CACHE_SIZE, KMALLOC_MAX_SIZE, ZERO_SIZE_PTR, class, class_of, kmalloc_size_roundup, order_of,
};
use crate::cache::{AllocFlags, Arena, RawCache};
use crate::pages::PAGE_SIZE;
use core::ptr::{NonNull, null_mut};

/// Takes `size` bytes, from the smallest class that holds them, or whole pages above [`KMALLOC_MAX_CACHE_SIZE`]; `None` when
/// memory is out and for more than [`KMALLOC_MAX_SIZE`]. A request for 0 bytes gets [`ZERO_SIZE_PTR`].
///
/// All of [`kmalloc_size_roundup`] bytes may be used; they are zero with [`AllocFlags::ZERO`], else as their last user left
/// them. Aligned to the largest power of two that divides that size. Of the other flags, whole pages know none. The first
/// request of a class makes its cache, which takes a lock; else no thread waits for another.
///
/// Source: `kmalloc` (include/linux/slab.h), `__do_kmalloc_node` (mm/slub.c).
#[must_use]
#[inline]
pub fn kmalloc(arena: &'static Arena, size: usize, flags: AllocFlags) -> Option<NonNull<u8>> {
    by_size(arena, size, flags, |at| class(arena, at))
}

/// The inlined hit of [`kmalloc`] alone: null where only that can tell. For entries of other languages, which come to their
/// own slow path by a call.
#[doc(hidden)]
#[must_use]
#[inline(always)]
pub fn hit(arena: &'static Arena, size: usize) -> *mut u8 {
    let known = if (1..=KMALLOC_MAX_CACHE_SIZE).contains(&size) { arena.kept(class_of(size)) } else { None };
    known.map_or(null_mut(), RawCache::hit)
}

/// As [`kmalloc`], of a node's memory: see [`RawCache::alloc_node`]. Whole pages come from where the caller runs. Source:
/// `kmalloc_node`.
#[must_use]
pub fn kmalloc_node(arena: &'static Arena, size: usize, flags: AllocFlags, node: u32) -> Option<NonNull<u8>> {
    match size {
        1..=KMALLOC_MAX_CACHE_SIZE => class(arena, class_of(size))?.alloc_node(flags, node),
        _ => kmalloc(arena, size, flags),
    }
}

/// [`kmalloc`] with classes of one's own.
#[inline]
pub(super) fn by_size(
    arena: &'static Arena,
    size: usize,
    flags: AllocFlags,
    class: impl FnOnce(usize) -> Option<RawCache>,
) -> Option<NonNull<u8>> {
    match size {
        0 => Some(ZERO_SIZE_PTR),
        1..=KMALLOC_MAX_CACHE_SIZE => class(class_of(size))?.alloc(flags),
        _ => large(arena, size, flags),
    }
}

#[cold]
fn large(arena: &'static Arena, size: usize, flags: AllocFlags) -> Option<NonNull<u8>> {
    if size > KMALLOC_MAX_SIZE {
        return None;
    }
    let pages = arena.alloc_large(order_of(size))?;
    // SAFETY: so many bytes are ours alone.
    unsafe { zero(pages, kmalloc_size_roundup(size), flags) };
    Some(pages)
}

/// As [`kmalloc`]; what is larger than [`KMALLOC_MAX_SIZE`], or larger than a page and not to be had that way, gets pages of
/// its own, aligned to 2 MiB, as many as it needs. Free it with [`kvfree`](super::kvfree). Source: `kvmalloc` (mm/util.c).
#[must_use]
pub fn kvmalloc(arena: &'static Arena, size: usize, flags: AllocFlags) -> Option<NonNull<u8>> {
    if let Some(object) = kmalloc(arena, size, flags) {
        return Some(object);
    }
    if size <= PAGE_SIZE {
        return None;
    }
    let pages = arena.alloc_huge(size)?;
    // SAFETY: so many bytes are ours alone.
    unsafe { zero(pages, size.next_multiple_of(PAGE_SIZE), flags) };
    Some(pages)
}

/// # Safety
/// `bytes` bytes there are the caller's alone.
unsafe fn zero(pages: NonNull<u8>, bytes: usize, flags: AllocFlags) {
    if flags.contains(AllocFlags::ZERO) {
        // SAFETY: the caller's word.
        unsafe { pages.write_bytes(0, bytes) };
    }
}
