//! Objects of a cache, many at once.

use crate::abi::gfp_t;
use crate::failure::{Failure, guard, no_object, reporting};
use crate::handle::{kmem_cache, options, raw};
use crate::objects::own;
use crate::process;
use core::ffi::{c_int, c_void};
use core::ptr::NonNull;
use haybarn_core::kmalloc;

/// # Errors
/// EINVAL for NULL.
///
/// # Safety
/// `pointers` is null or leads to `count` pointers that nobody else touches.
unsafe fn slice<'a>(count: usize, pointers: *mut *mut c_void) -> Result<&'a mut [*mut u8], Failure> {
    if count == 0 {
        return Ok(&mut []);
    }
    if pointers.is_null() || count > isize::MAX as usize / size_of::<usize>() {
        return Err(Failure::Is(libc::EINVAL, "the array is NULL, or longer than memory"));
    }
    // SAFETY: the caller's word.
    Ok(unsafe { core::slice::from_raw_parts_mut(pointers.cast(), count) })
}

/// Takes `count` objects, all or none: `count`, or 0 with errno as kmem_cache_alloc sets it. After 0, what is in the array means
/// nothing.
///
/// # Safety
/// As kmem_cache_alloc; `objects` has room for `count`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_alloc_bulk(
    s: *mut kmem_cache,
    flags: gfp_t,
    count: usize,
    objects: *mut *mut c_void,
) -> c_int {
    guard(0, || {
        let legal = c_int::try_from(count).map_err(|_| Failure::Is(libc::EINVAL, "more objects than an int counts"))?;
        // SAFETY: the caller's word, here and below.
        let objects = unsafe { slice(count, objects) }?;
        let flags = options(flags)?;
        // SAFETY: as above.
        let cache = unsafe { raw(s) }?;
        if cache.alloc_bulk(flags, objects) { Ok(legal) } else { Err(no_object("the objects")) }
    })
}

/// Gives objects back, none of them NULL or there twice; `s` NULL: of any caches, as kfree. The array is used as scratch. If
/// one of them is not the library's that is reported (errno EFAULT), and none is freed.
///
/// # Safety
/// As kmem_cache_free, for each.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_free_bulk(s: *mut kmem_cache, count: usize, objects: *mut *mut c_void) {
    reporting(|| {
        // SAFETY: the caller's word, here and below.
        let objects = unsafe { slice(count, objects) }?;
        if s.is_null() {
            // SAFETY: as above.
            return unsafe { free_any(objects) };
        }
        for &object in objects.iter() {
            own(NonNull::new(object).ok_or(Failure::Is(libc::EFAULT, "a NULL among the objects"))?)?;
        }
        // SAFETY: as above.
        unsafe { raw(s)?.free_bulk(objects) };
        Ok(())
    });
}

/// Gives memory of the kmalloc family and objects of any caches back, in any mixture; NULL and ZERO_SIZE_PTR may be among
/// them. Otherwise as kmem_cache_free_bulk.
///
/// # Safety
/// As kfree, for each.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kfree_bulk(count: usize, objects: *mut *mut c_void) {
    reporting(|| {
        // SAFETY: the caller's word, here and below.
        let objects = unsafe { slice(count, objects) }?;
        // SAFETY: as above.
        unsafe { free_any(objects) }
    });
}

/// # Safety
/// As [`kfree_bulk`].
unsafe fn free_any(objects: &mut [*mut u8]) -> Result<(), Failure> {
    let arena = process::arena()?;
    for &object in objects.iter() {
        // SAFETY: the caller's word, here and below.
        unsafe { kmalloc::try_ksize(arena, object) }?;
    }
    // SAFETY: as above.
    unsafe { kmalloc::kfree_bulk(arena, objects) };
    Ok(())
}
