//! Prefilled sheaves: objects set aside, so that taking them cannot fail.

use crate::abi::gfp_t;
use crate::failure::{Failure, guard, no_object, reporting, status};
use crate::handle::{kmem_cache, options, raw};
use crate::process;
use core::ffi::{c_int, c_uint, c_void};
use core::ptr::{NonNull, null_mut};
use haybarn_core::{AllocFlags, RawCache, RawPrefilled, kmalloc};

/// A sheaf that is out: its holder's alone.
pub struct slab_sheaf(RawPrefilled);

const NO_SHEAF: Failure = Failure::Is(libc::EINVAL, "the sheaf is NULL");
const OTHER: Failure = Failure::Is(libc::EINVAL, "the sheaf is of another cache");

/// Sets `count` objects aside: taking so many from the sheaf cannot fail. NULL: errno is ENOMEM, EINVAL for a count of 0, or what
/// the constructor returned, and nothing is lost.
///
/// # Safety
/// As kmem_cache_alloc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_prefill_sheaf(s: *mut kmem_cache, flags: gfp_t, count: c_uint) -> *mut slab_sheaf {
    guard(null_mut(), || {
        // SAFETY: the caller's word.
        let cache = unsafe { raw(s) }?;
        let flags = options(flags)?;
        let place = kmalloc::kmalloc(process::arena()?, size_of::<slab_sheaf>(), AllocFlags::empty());
        let place = place.ok_or_else(|| no_object("a sheaf's handle"))?;
        match cache.prefill(flags, count as usize) {
            Ok(sheaf) => {
                let place = place.cast::<slab_sheaf>();
                // SAFETY: the memory is ours, large enough, and aligned as every class of its size is.
                unsafe { place.write(slab_sheaf(sheaf)) };
                Ok(place.as_ptr())
            }
            Err(error) => {
                // SAFETY: nobody else knows it.
                unsafe { kmalloc::try_kfree(process::arena()?, place.as_ptr()) }?;
                Err(why(error))
            }
        }
    })
}

const _: () = assert!(align_of::<slab_sheaf>() <= 8 && size_of::<slab_sheaf>() <= 64);

/// What a constructor said is there beside the error of the sheaf.
fn why(error: haybarn_core::Error) -> Failure {
    match error {
        haybarn_core::Error::Ctor { .. } => no_object("a sheaf"),
        other => other.into(),
    }
}

/// Takes an object of the sheaf: NULL only if none is left (errno ENODATA). Of the flags __GFP_ZERO and __GFP_ACCOUNT count.
///
/// # Safety
/// `sheaf` is one that is out, of this cache, and nobody else uses it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_alloc_from_sheaf(
    s: *mut kmem_cache,
    flags: gfp_t,
    sheaf: *mut slab_sheaf,
) -> *mut c_void {
    guard(null_mut(), || {
        // SAFETY: the caller's word, here and below.
        let cache = unsafe { raw(s) }?;
        // SAFETY: as above.
        let sheaf = unsafe { of(cache, sheaf) }?;
        let (flags, was_empty) = (options(flags)?, sheaf.is_empty());
        sheaf.alloc(flags).map(|object| object.as_ptr().cast()).ok_or_else(|| match was_empty {
            true => Failure::Is(libc::ENODATA, "the prefilled sheaf is empty: refill it"),
            false => no_object("an object"),
        })
    })
}

/// Sees to it that at least `count` objects are in the sheaf at `*sheaf`, which stays the same pointer. 0, or an error as
/// kmem_cache_prefill_sheaf's, negative, with the sheaf as it was.
///
/// # Safety
/// As kmem_cache_alloc_from_sheaf; `sheaf` leads to it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_refill_sheaf(
    s: *mut kmem_cache,
    flags: gfp_t,
    sheaf: *mut *mut slab_sheaf,
    count: c_uint,
) -> c_int {
    status(|| {
        // SAFETY: the caller's word, here and below.
        let place = unsafe { sheaf.as_ref() }.ok_or(NO_SHEAF)?;
        // SAFETY: as above.
        let cache = unsafe { raw(s) }?;
        let flags = options(flags)?;
        // SAFETY: as above.
        unsafe { of(cache, *place) }?.refill(flags, count as usize).map_err(why)
    })
}

/// Returns the sheaf and what is left in it. NULL: nothing happens.
///
/// # Safety
/// As kmem_cache_alloc_from_sheaf; the sheaf is not used afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_return_sheaf(s: *mut kmem_cache, flags: gfp_t, sheaf: *mut slab_sheaf) {
    let Some(place) = NonNull::new(sheaf) else { return };
    reporting(|| {
        options(flags)?;
        // SAFETY: the caller's word, here and below.
        let cache = unsafe { raw(s) }?;
        // SAFETY: as above.
        unsafe { of(cache, sheaf) }?;
        // SAFETY: as above: it is read for the last time, and its memory was kmalloc's.
        let sheaf = unsafe { place.read() };
        // SAFETY: as above.
        unsafe { kmalloc::try_kfree(process::arena()?, place.as_ptr().cast()) }?;
        sheaf.0.give_back();
        Ok(())
    });
}

/// Objects that are left in the sheaf; 0 for NULL.
///
/// # Safety
/// `sheaf` is null or as for kmem_cache_alloc_from_sheaf.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_sheaf_size(sheaf: *const slab_sheaf) -> c_uint {
    // SAFETY: the caller's word.
    let left = unsafe { sheaf.as_ref() }.map_or(0, |sheaf| sheaf.0.len());
    c_uint::try_from(left).unwrap_or(c_uint::MAX)
}

/// # Errors
/// EINVAL for NULL and for a sheaf of another cache.
///
/// # Safety
/// `sheaf` is null, or one that is out and the caller's for `'a`.
unsafe fn of<'a>(cache: RawCache, sheaf: *mut slab_sheaf) -> Result<&'a mut RawPrefilled, Failure> {
    // SAFETY: the caller's word.
    let sheaf = unsafe { sheaf.as_mut() }.ok_or(NO_SHEAF)?;
    if sheaf.0.cache() == cache { Ok(&mut sheaf.0) } else { Err(OTHER) }
}
