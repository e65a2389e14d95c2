//! Another size for memory that is in use.

use crate::abi::gfp_t;
use crate::failure::{guard, no_object};
use crate::handle::options;
use crate::process;
use crate::size::product;
use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};
use haybarn_core::{AllocFlags, Arena, kmalloc as family};

/// Makes memory `size` bytes large: where it is if so many fit there, else elsewhere with its contents, and the old is freed.
/// NULL and ZERO_SIZE_PTR: as kmalloc. `size` 0: freed, and ZERO_SIZE_PTR comes back. NULL comes back with errno ENOMEM, or EFAULT for
/// what is not the library's: the old is as it was. Bytes that are added are zero if every call since the first had __GFP_ZERO.
///
/// # Safety
/// As kfree, if other memory comes back.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn krealloc(object: *const c_void, size: usize, flags: gfp_t) -> *mut c_void {
    // SAFETY: the caller's word.
    unsafe { resized(object, size, flags, |_, _, _| None) }
}

/// krealloc for an array: see kmalloc_array.
///
/// # Safety
/// As krealloc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn krealloc_array(object: *mut c_void, count: usize, size: usize, flags: gfp_t) -> *mut c_void {
    // SAFETY: the caller's word.
    unsafe { krealloc(object, product(count, size), flags) }
}

/// krealloc for what kvmalloc gave, to any size that kvmalloc gives.
///
/// # Safety
/// As krealloc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvrealloc(object: *const c_void, size: usize, flags: gfp_t) -> *mut c_void {
    // SAFETY: the caller's word.
    unsafe { resized(object, size, flags, family::kvmalloc) }
}

/// kvrealloc for an array: see kmalloc_array.
///
/// # Safety
/// As krealloc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvrealloc_array(object: *mut c_void, count: usize, size: usize, flags: gfp_t) -> *mut c_void {
    // SAFETY: the caller's word.
    unsafe { kvrealloc(object, product(count, size), flags) }
}

/// `instead` gives the memory that kmalloc cannot.
///
/// # Safety
/// As [`krealloc`].
unsafe fn resized(
    object: *const c_void,
    size: usize,
    flags: gfp_t,
    instead: impl FnOnce(&'static Arena, usize, AllocFlags) -> Option<NonNull<u8>>,
) -> *mut c_void {
    let object = object.cast_mut().cast();
    guard(null_mut(), || {
        let (arena, flags) = (process::arena()?, options(flags)?);
        // SAFETY: the caller's word, here and below. A foreign pointer ends here.
        let room = unsafe { family::try_ksize(arena, object) }?;
        // SAFETY: as above.
        if let Some(new) = unsafe { family::krealloc(arena, object, size, flags) } {
            return Ok(new.as_ptr().cast());
        }
        let new = instead(arena, size, flags).ok_or_else(|| no_object("krealloc"))?.as_ptr();
        if room > 0 {
            // SAFETY: so many bytes are in both, which are apart.
            unsafe { new.copy_from_nonoverlapping(object, room.min(size)) };
            // SAFETY: as above.
            unsafe { family::try_kfree(arena, object) }?;
        }
        Ok(new.cast())
    })
}
