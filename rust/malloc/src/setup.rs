//! Caches in storage that a program has set aside: their address is known when it is linked.
//!
//! Source: Al Viro's series on static kmem_cache instances (2026).

use crate::abi::{SLAB_PANIC, kmem_cache_args, slab_flags_t};
use crate::failure::{guard, panic_now, status};
use crate::handle::{self, kmem_cache};
use crate::wanted::Wanted;
use core::ffi::{c_char, c_int, c_uint, c_void};

/// kmem_cache_setup with a struct of options; NULL for none. 0, and the cache of this storage may be used. -EALREADY while a
/// cache is there, -EBUSY after its end while its attributes are still being read; otherwise as kmem_cache_create, negative. After
/// any of them the storage is as it was: the setup may be tried again.
///
/// Without args.release other caches may share its slabs; with it, it shares another's.
///
/// # Safety
/// `s` is to_kmem_cache of storage that was zero before the first setup and that nobody else has written; it stays until
/// kmem_cache_destroy, and until kmem_cache_is_free. The others as for kmem_cache_create.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __kmem_cache_setup_args(
    s: *mut kmem_cache,
    name: *const c_char,
    size: c_uint,
    args: *const kmem_cache_args,
    flags: slab_flags_t,
) -> c_int {
    // SAFETY: the caller's word.
    let done = status(|| unsafe { handle::setup(s, &Wanted::new(name, size, args, flags)?) });
    if done != 0 && flags & SLAB_PANIC != 0 {
        panic_now("SLAB_PANIC");
    }
    done
}

/// kmem_cache_setup in its older form.
///
/// # Safety
/// As __kmem_cache_setup_args; `ctor` is null or may be called with each object.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __kmem_cache_setup(
    s: *mut kmem_cache,
    name: *const c_char,
    size: c_uint,
    align: c_uint,
    flags: slab_flags_t,
    ctor: Option<unsafe extern "C" fn(object: *mut c_void)>,
) -> c_int {
    let args = kmem_cache_args { align, ctor, ..kmem_cache_args::NONE };
    // SAFETY: the caller's word.
    unsafe { __kmem_cache_setup_args(s, name, size, &raw const args, flags) }
}

/// kmem_cache_setup with a part of each object that may be copied to and from users.
///
/// # Safety
/// As __kmem_cache_setup.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_setup_usercopy(
    s: *mut kmem_cache,
    name: *const c_char,
    size: c_uint,
    align: c_uint,
    flags: slab_flags_t,
    useroffset: c_uint,
    usersize: c_uint,
    ctor: Option<unsafe extern "C" fn(object: *mut c_void)>,
) -> c_int {
    let args = kmem_cache_args { align, useroffset, usersize, ctor, ..kmem_cache_args::NONE };
    // SAFETY: the caller's word.
    unsafe { __kmem_cache_setup_args(s, name, size, &raw const args, flags) }
}

/// Whether storage may be set up, or its memory go: it never was, or its cache's end has gone as far as its last reader.
///
/// # Safety
/// `s` is to_kmem_cache of such storage.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_is_free(s: *mut kmem_cache) -> bool {
    // SAFETY: the caller's word.
    guard(false, || unsafe { handle::is_free(s) })
}
