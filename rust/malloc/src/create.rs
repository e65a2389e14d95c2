//! Caches: made, looked at, given back from, ended.

use crate::abi::{SLAB_PANIC, kmem_cache_args, slab_flags_t};
use crate::failure::{Failure, guard, panic_now, status};
use crate::handle::{self, kmem_cache, raw};
use crate::wanted::Wanted;
use core::ffi::{c_char, c_int, c_uint, c_ulong, c_void};
use core::ptr::null_mut;

/// kmem_cache_create with a struct of options; NULL for none. The name is copied. NULL: errno is EINVAL for an argument (the text
/// of haybarn_error() names it and its legal range), EEXIST for a name that a living cache has, ENOMEM.
///
/// # Safety
/// `name` is null or a text, `args` null or such a struct.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __kmem_cache_create_args(
    name: *const c_char,
    size: c_uint,
    args: *const kmem_cache_args,
    flags: slab_flags_t,
) -> *mut kmem_cache {
    let made = guard(null_mut(), || {
        // SAFETY: the caller's word.
        handle::create(&unsafe { Wanted::new(name, size, args, flags) }?)
    });
    if made.is_null() && flags & SLAB_PANIC != 0 {
        panic_now("SLAB_PANIC");
    }
    made
}

/// kmem_cache_create in its older form.
///
/// # Safety
/// As __kmem_cache_create_args; `ctor` is null or may be called with each object.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __kmem_cache_create(
    name: *const c_char,
    size: c_uint,
    align: c_uint,
    flags: slab_flags_t,
    ctor: Option<unsafe extern "C" fn(object: *mut c_void)>,
) -> *mut kmem_cache {
    let args = kmem_cache_args { align, ctor, ..kmem_cache_args::NONE };
    // SAFETY: the caller's word.
    unsafe { __kmem_cache_create_args(name, size, &raw const args, flags) }
}

/// kmem_cache_create with a part of each object that may be copied to and from users.
///
/// # Safety
/// As __kmem_cache_create.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_create_usercopy(
    name: *const c_char,
    size: c_uint,
    align: c_uint,
    flags: slab_flags_t,
    useroffset: c_uint,
    usersize: c_uint,
    ctor: Option<unsafe extern "C" fn(object: *mut c_void)>,
) -> *mut kmem_cache {
    let args = kmem_cache_args { align, useroffset, usersize, ctor, ..kmem_cache_args::NONE };
    // SAFETY: the caller's word.
    unsafe { __kmem_cache_create_args(name, size, &raw const args, flags) }
}

/// Ends the cache: 0, and the pointer is nobody's any more. -EBUSY with objects that are not freed or prefilled sheaves that are
/// out, if no other living name shares its slabs (as in Linux a name that shares just goes; SLAB_NO_MERGE shares with nobody), -EDEADLK in an RCU read section where frees wait for readers: the cache is usable as before then. NULL: 0.
///
/// # Safety
/// Nobody uses the cache during the call, nor after a 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_destroy(s: *mut kmem_cache) -> c_int {
    if s.is_null() {
        return 0;
    }
    // SAFETY: the caller's word.
    status(|| unsafe { handle::destroy(s) })
}

/// Gives the cache's free memory back. 0 if no slab is left, else 1.
///
/// # Safety
/// As kmem_cache_alloc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_shrink(s: *mut kmem_cache) -> c_int {
    guard(1, || {
        // SAFETY: the caller's word.
        let cache = unsafe { raw(s) }?;
        let _released = cache.shrink();
        Ok(c_int::from(cache.stats().slabs > 0))
    })
}

/// Bytes of an object, as they were asked for; 0 for what is no cache.
///
/// # Safety
/// As kmem_cache_alloc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_size(s: *mut kmem_cache) -> c_uint {
    // SAFETY: the caller's word.
    guard(0, || Ok(unsafe { handle::name(s) }?.object_size() as c_uint))
}

/// A cache's row of slabinfo.
#[repr(C)]
#[derive(Default)]
pub struct slabinfo {
    /// Objects handed out and not freed.
    pub active_objs: c_ulong,
    /// Objects in all slabs.
    pub num_objs: c_ulong,
    /// Slabs.
    pub active_slabs: c_ulong,
    /// Slabs.
    pub num_slabs: c_ulong,
    /// Objects of a slab.
    pub objects_per_slab: c_uint,
    /// A slab has 1 << cache_order pages.
    pub cache_order: c_uint,
}

/// Fills in a cache's row of slabinfo; exact while nobody uses the cache. 0, or -EINVAL.
///
/// # Safety
/// As kmem_cache_alloc; `row` is null or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn get_slabinfo(s: *mut kmem_cache, row: *mut slabinfo) -> c_int {
    status(|| {
        // SAFETY: the caller's word, here and below.
        let cache = unsafe { raw(s) }?;
        // SAFETY: as above.
        let row = unsafe { row.as_mut() }.ok_or(Failure::Is(libc::EINVAL, "the row is NULL"))?;
        let (info, stats) = (cache.info(), cache.stats());
        *row = slabinfo {
            active_objs: stats.objects,
            num_objs: stats.total_objects,
            active_slabs: stats.slabs,
            num_slabs: stats.slabs,
            objects_per_slab: info.objs_per_slab,
            cache_order: info.order.into(),
        };
        Ok(())
    })
}
