//! Another size for memory that is in use. Source: `krealloc_node_align` (mm/slub.c).

use super::alloc::kmalloc;
use super::classes::ZERO_SIZE_PTR;
use super::free::{has_memory, kfree, ksize};
use crate::cache::{AllocFlags, Arena};
use core::ptr::NonNull;

/// Makes memory `size` bytes large. It stays where it is if so many fit there (always, when it shrinks); else its contents
/// move to new memory and the old is freed. Null and [`ZERO_SIZE_PTR`]: as [`kmalloc`]. `size` 0: freed, and
/// [`ZERO_SIZE_PTR`] comes back. `None`: memory is out, and the old is as it was.
///
/// With [`AllocFlags::ZERO`] all behind `size` becomes zero, so that what a later call adds is zero; that holds if every
/// call since the first had the flag, since nobody has recorded how many bytes were asked for. Who knows that calls
/// [`krealloc_from`]. With [`AllocFlags::THISNODE`] an object of another node's memory moves too.
///
/// # Panics
/// As [`kfree`].
///
/// # Safety
/// As [`kfree`]; if other memory comes back, the old is freed.
#[must_use]
pub unsafe fn krealloc(arena: &'static Arena, object: *mut u8, size: usize, flags: AllocFlags) -> Option<NonNull<u8>> {
    // SAFETY: the caller's word.
    unsafe { resize(arena, object, None, size, flags) }
}

/// [`krealloc`] by who knows that `len` bytes (at most [`ksize`]) are in use: no more are kept, and with [`AllocFlags::ZERO`]
/// those from `len` to `size` are zero, whatever earlier calls asked.
///
/// # Panics
/// As [`kfree`].
///
/// # Safety
/// As [`krealloc`].
#[must_use]
pub unsafe fn krealloc_from(
    arena: &'static Arena,
    object: *mut u8,
    len: usize,
    size: usize,
    flags: AllocFlags,
) -> Option<NonNull<u8>> {
    // SAFETY: the caller's word.
    unsafe { resize(arena, object, Some(len), size, flags) }
}

/// # Safety
/// As [`krealloc`].
unsafe fn resize(
    arena: &'static Arena,
    object: *mut u8,
    len: Option<usize>,
    size: usize,
    flags: AllocFlags,
) -> Option<NonNull<u8>> {
    let Some(old) = has_memory(object) else { return kmalloc(arena, size, flags) };
    if size == 0 {
        // SAFETY: the caller's word.
        unsafe { kfree(arena, object) };
        return Some(ZERO_SIZE_PTR);
    }
    // SAFETY: as above.
    let room = unsafe { ksize(arena, object) };
    if size <= room && !is_far(arena, old, flags) {
        if flags.contains(AllocFlags::ZERO) {
            let (from, to) = len.filter(|&len| len < size).map_or((size, room), |len| (len, size));
            // SAFETY: `from <= to <= room`, and those bytes are the caller's.
            unsafe { old.add(from).write_bytes(0, to - from) };
        }
        return Some(old);
    }
    let new = kmalloc(arena, size, flags)?;
    // SAFETY: so many bytes are in both, which are apart.
    unsafe { new.copy_from_nonoverlapping(old, len.unwrap_or(room).min(room).min(size)) };
    // SAFETY: the caller's word.
    unsafe { kfree(arena, object) };
    Some(new)
}

/// Whether an object is of another node's memory and the caller minds.
fn is_far(arena: &Arena, object: NonNull<u8>, flags: AllocFlags) -> bool {
    flags.contains(AllocFlags::THISNODE)
        && arena.node_of_slab(object.as_ptr().addr()).is_some_and(|node| node != arena.home())
}
