//! Size classes of one's own, whose objects never share a slab with others'.

use crate::abi::{gfp_t, slab_flags_t};
use crate::failure::{Failure, guard, no_object, status};
use crate::handle::options;
use crate::process;
use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use core::ptr::null_mut;
use haybarn_core::kmalloc::KmemBuckets;

/// A set of size classes.
pub struct kmem_buckets(Option<KmemBuckets>);

/// Makes the caches `name`-8 to `name`-8k. Their whole objects may be copied to and from users, whatever part is given, and they
/// are plain: flags other than 0 and a constructor are refused (EINVAL). NULL: errno as kmem_cache_create's.
///
/// # Safety
/// `name` is null or a text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_buckets_create(
    name: *const c_char,
    flags: slab_flags_t,
    _useroffset: c_uint,
    _usersize: c_uint,
    ctor: Option<unsafe extern "C" fn(object: *mut c_void)>,
) -> *mut kmem_buckets {
    guard(null_mut(), || {
        if name.is_null() || flags != 0 || ctor.is_some() {
            return Err(Failure::Is(libc::EINVAL, "kmem_buckets_create takes a name, no flags and no constructor"));
        }
        // SAFETY: the caller's word.
        let name = unsafe { CStr::from_ptr(name) }.to_str();
        let name = name.map_err(|_| Failure::Is(libc::EINVAL, "the name of buckets is not UTF-8"))?;
        let made = KmemBuckets::create(process::arena()?, name)?;
        Ok(Box::into_raw(Box::new(kmem_buckets(Some(made)))))
    })
}

/// kmalloc from these classes; what is larger than KMALLOC_MAX_CACHE_SIZE gets whole pages, which are nobody's class. Freed by
/// kfree as any.
///
/// # Safety
/// `b` is of kmem_buckets_create, and lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_buckets_alloc(b: *mut kmem_buckets, size: usize, flags: gfp_t) -> *mut c_void {
    guard(null_mut(), || {
        let flags = options(flags)?;
        // SAFETY: the caller's word.
        let set = unsafe { set(b) }?;
        set.alloc(size, flags).map(|object| object.as_ptr().cast()).ok_or_else(|| no_object("kmem_buckets_alloc"))
    })
}

/// kvmalloc from these classes.
///
/// # Safety
/// As kmem_buckets_alloc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_buckets_valloc(b: *mut kmem_buckets, size: usize, flags: gfp_t) -> *mut c_void {
    if size <= crate::abi::KMALLOC_MAX_CACHE_SIZE {
        // SAFETY: the caller's word.
        return unsafe { kmem_buckets_alloc(b, size, flags) };
    }
    // SAFETY: the caller's word.
    let known = guard(false, || unsafe { set(b) }.map(|_| true));
    if known { crate::size::kvmalloc(size, flags) } else { null_mut() }
}

/// Ends the caches of a set: 0, or -EBUSY with live objects and the set as it was. NULL: 0. Linux has no end for them.
///
/// # Safety
/// Nobody uses the set or frees an object of it during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_buckets_destroy(b: *mut kmem_buckets) -> c_int {
    if b.is_null() {
        return 0;
    }
    status(|| {
        // SAFETY: the caller's word, here and below.
        let mut set = unsafe { Box::from_raw(b) };
        // SAFETY: as above.
        let ended = set.0.take().map_or(Ok(()), |buckets| unsafe { buckets.destroy() });
        ended.map_err(|(error, back)| {
            set.0 = Some(back);
            let _the_programs = Box::into_raw(set);
            error.into()
        })
    })
}

/// # Safety
/// As [`kmem_buckets_alloc`].
unsafe fn set<'a>(b: *mut kmem_buckets) -> Result<&'a KmemBuckets, Failure> {
    // SAFETY: the caller's word.
    let set = unsafe { b.as_ref() }.and_then(|set| set.0.as_ref());
    set.ok_or(Failure::Is(libc::EINVAL, "the buckets are NULL"))
}
