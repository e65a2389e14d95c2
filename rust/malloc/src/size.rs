//! The kmalloc family: memory by its size, freed by its address alone.

use crate::abi::{__GFP_ZERO, NUMA_NO_NODE, gfp_t};
use crate::failure::{Failure, guard, no_object, reporting};
use crate::handle::options;
use crate::objects::{PLAIN, known_node};
use crate::process;
use core::ffi::{c_int, c_void};
use core::ptr::null_mut;
use haybarn_core::kmalloc as family;

/// Takes `size` bytes, from the smallest size class that holds them (8 bytes to 8 KiB, also 96 and 192), or whole pages; all of
/// ksize() bytes may be used, and are aligned to the largest power of two that divides them. 0 bytes: ZERO_SIZE_PTR. NULL:
/// errno is ENOMEM, also for more than KMALLOC_MAX_SIZE. Never waits for another thread, but for the first use of a class.
#[unsafe(no_mangle)]
pub extern "C" fn kmalloc(size: usize, flags: gfp_t) -> *mut c_void {
    if flags & !PLAIN == 0
        && let Some(arena) = process::known()
    {
        let object = family::hit(arena, size);
        if !object.is_null() {
            return object.cast();
        }
    }
    slow(size, flags, NUMA_NO_NODE)
}

/// kmalloc with __GFP_ZERO.
#[unsafe(no_mangle)]
pub extern "C" fn kzalloc(size: usize, flags: gfp_t) -> *mut c_void {
    slow(size, flags | __GFP_ZERO, NUMA_NO_NODE)
}

/// kmalloc of a node's memory: see kmem_cache_alloc_node. Whole pages come from where the caller runs.
#[unsafe(no_mangle)]
pub extern "C" fn kmalloc_node(size: usize, flags: gfp_t, node: c_int) -> *mut c_void {
    slow(size, flags, node)
}

/// kmalloc_node with __GFP_ZERO.
#[unsafe(no_mangle)]
pub extern "C" fn kzalloc_node(size: usize, flags: gfp_t, node: c_int) -> *mut c_void {
    slow(size, flags | __GFP_ZERO, node)
}

/// kmalloc for an array. NULL, with errno ENOMEM, also where the product is no number.
#[unsafe(no_mangle)]
pub extern "C" fn kmalloc_array(count: usize, size: usize, flags: gfp_t) -> *mut c_void {
    kmalloc(product(count, size), flags)
}

/// kmalloc_array with __GFP_ZERO.
#[unsafe(no_mangle)]
pub extern "C" fn kcalloc(count: usize, size: usize, flags: gfp_t) -> *mut c_void {
    kzalloc(product(count, size), flags)
}

/// kmalloc_node for an array.
#[unsafe(no_mangle)]
pub extern "C" fn kmalloc_array_node(count: usize, size: usize, flags: gfp_t, node: c_int) -> *mut c_void {
    kmalloc_node(product(count, size), flags, node)
}

/// kmalloc_array_node with __GFP_ZERO.
#[unsafe(no_mangle)]
pub extern "C" fn kcalloc_node(count: usize, size: usize, flags: gfp_t, node: c_int) -> *mut c_void {
    kzalloc_node(product(count, size), flags, node)
}

/// As kmalloc; what is larger than KMALLOC_MAX_SIZE, or larger than a page and not to be had that way, gets pages of its own,
/// aligned to 2 MiB.
#[unsafe(no_mangle)]
pub extern "C" fn kvmalloc(size: usize, flags: gfp_t) -> *mut c_void {
    kvmalloc_node(size, flags, NUMA_NO_NODE)
}

/// kvmalloc with __GFP_ZERO.
#[unsafe(no_mangle)]
pub extern "C" fn kvzalloc(size: usize, flags: gfp_t) -> *mut c_void {
    kvmalloc(size, flags | __GFP_ZERO)
}

/// kvmalloc of a node's memory: see kmalloc_node.
#[unsafe(no_mangle)]
pub extern "C" fn kvmalloc_node(size: usize, flags: gfp_t, node: c_int) -> *mut c_void {
    guard(null_mut(), || {
        let (arena, flags) = (process::arena()?, options(flags)?);
        let of_node = known_node(node)?.and_then(|node| family::kmalloc_node(arena, size, flags, node));
        let found = of_node.or_else(|| family::kvmalloc(arena, size, flags));
        found.map(|object| object.as_ptr().cast()).ok_or_else(|| no_object("kvmalloc"))
    })
}

/// kvmalloc_node with __GFP_ZERO.
#[unsafe(no_mangle)]
pub extern "C" fn kvzalloc_node(size: usize, flags: gfp_t, node: c_int) -> *mut c_void {
    kvmalloc_node(size, flags | __GFP_ZERO, node)
}

/// kvmalloc for an array: see kmalloc_array.
#[unsafe(no_mangle)]
pub extern "C" fn kvmalloc_array(count: usize, size: usize, flags: gfp_t) -> *mut c_void {
    kvmalloc(product(count, size), flags)
}

/// kvmalloc_array with __GFP_ZERO.
#[unsafe(no_mangle)]
pub extern "C" fn kvcalloc(count: usize, size: usize, flags: gfp_t) -> *mut c_void {
    kvzalloc(product(count, size), flags)
}

/// The bytes of an array; more than there can be where that is no number.
pub fn product(count: usize, size: usize) -> usize {
    count.saturating_mul(size)
}

#[cold]
#[inline(never)]
extern "C" fn slow(size: usize, flags: gfp_t, node: c_int) -> *mut c_void {
    guard(null_mut(), || {
        let (arena, flags) = (process::arena()?, options(flags)?);
        let found = match known_node(node)? {
            None => family::kmalloc(arena, size, flags),
            Some(node) => family::kmalloc_node(arena, size, flags, node),
        };
        found.map(|object| object.as_ptr().cast()).ok_or_else(|| no_object("kmalloc"))
    })
}

/// Gives memory of the kmalloc family or an object of any cache back. NULL and ZERO_SIZE_PTR: nothing happens. An address
/// where no memory of the library is, as one of malloc or of another copy of the library, is reported (errno EFAULT), and
/// nothing happens.
///
/// # Safety
/// If the library's, the memory is live and the caller gives up its only owner.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kfree(object: *const c_void) {
    let object = object.cast_mut().cast();
    if let Some(arena) = process::known() {
        // SAFETY: the caller's word.
        if unsafe { family::put(arena, object) } {
            return;
        }
    }
    // SAFETY: as above.
    unsafe { free_slow(object) };
}

/// # Safety
/// As [`kfree`].
#[cold]
#[inline(never)]
unsafe extern "C" fn free_slow(object: *mut u8) {
    if object.is_null() {
        return;
    }
    reporting(|| {
        // SAFETY: the caller's word.
        unsafe { family::try_kfree(process::arena()?, object) }?;
        Ok(())
    });
}

/// kfree for what kvmalloc gave; they are the same.
///
/// # Safety
/// As kfree.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvfree(object: *const c_void) {
    // SAFETY: the caller's word.
    unsafe { kfree(object) };
}

/// kfree after overwriting all ksize() bytes with zeroes.
///
/// # Safety
/// As kfree.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kfree_sensitive(object: *const c_void) {
    // SAFETY: the caller's word, and the most that is there.
    unsafe { wipe(object, usize::MAX) };
}

/// kvfree after overwriting the first `len` bytes with zeroes.
///
/// # Safety
/// As kfree.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvfree_sensitive(object: *const c_void, len: usize) {
    // SAFETY: the caller's word.
    unsafe { wipe(object, len) };
}

/// # Safety
/// As [`kfree`].
unsafe fn wipe(object: *const c_void, len: usize) {
    let object = object.cast_mut().cast::<u8>();
    reporting(|| {
        // SAFETY: the caller's word, here and below.
        let room = unsafe { family::try_ksize(process::arena()?, object) }?;
        if room > 0 {
            // SAFETY: so many bytes are the caller's.
            unsafe { object.write_bytes(0, room.min(len)) };
            // No compiler takes the zeroes for useless.
            core::hint::black_box(object);
        }
        // SAFETY: as above.
        unsafe { family::try_kfree(process::arena()?, object) }?;
        Ok(())
    });
}

/// Bytes that may be used there; of a cache's object its object size. 0 for NULL, ZERO_SIZE_PTR, and with errno EFAULT for what
/// is not the library's.
///
/// # Safety
/// `object` is live memory of the library, or none of its at all.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ksize(object: *const c_void) -> usize {
    // SAFETY: the caller's word.
    guard(0, || unsafe { family::try_ksize(process::arena()?, object.cast_mut().cast()) }.map_err(Failure::from))
}

/// Bytes that a request for `size` bytes really gets: the same that ksize() says afterwards. Above KMALLOC_MAX_SIZE `size` itself.
#[unsafe(no_mangle)]
pub extern "C" fn kmalloc_size_roundup(size: usize) -> usize {
    family::kmalloc_size_roundup(size)
}
