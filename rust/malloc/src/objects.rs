//! Objects of a cache, one by one.

use crate::abi::{__GFP_NOWARN, __GFP_THISNODE, __GFP_ZERO, GFP_NOWAIT, NUMA_NO_NODE, gfp_t};
use crate::failure::{Failure, guard, no_object, reporting, say, status};
use crate::handle::{kmem_cache, options, raw};
use crate::process;
use core::ffi::{c_int, c_void};
use core::ptr::{NonNull, null_mut};
use haybarn_core::{Error, RawCache, kmalloc};

/// Flags that ask nothing of an object that is there.
pub const PLAIN: gfp_t = GFP_NOWAIT | __GFP_THISNODE | __GFP_NOWARN;

/// Takes an object of the cache: its object size in bytes, at its alignment, with what its last user left in it unless
/// __GFP_ZERO. NULL: errno is ENOMEM, or what the constructor returned. Never waits for another thread.
///
/// # Safety
/// `s` is a cache that lives during the call; memory that kmem_cache_setup has not set up is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_alloc(s: *mut kmem_cache, flags: gfp_t) -> *mut c_void {
    if flags & !PLAIN == 0 {
        // SAFETY: the caller's word; the first word of a cache is its handle.
        let object = unsafe { RawCache::hit_at(s.cast()) };
        if !object.is_null() {
            return object.cast();
        }
    }
    // SAFETY: the caller's word.
    unsafe { slow(s, flags, NUMA_NO_NODE) }
}

/// kmem_cache_alloc with __GFP_ZERO.
///
/// # Safety
/// As kmem_cache_alloc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_zalloc(s: *mut kmem_cache, flags: gfp_t) -> *mut c_void {
    // SAFETY: the caller's word.
    unsafe { slow(s, flags | __GFP_ZERO, NUMA_NO_NODE) }
}

/// kmem_cache_alloc of a node's memory: of another's where that is out, unless __GFP_THISNODE. EINVAL for a node that is
/// not there; NUMA_NO_NODE is any.
///
/// # Safety
/// As kmem_cache_alloc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_alloc_node(s: *mut kmem_cache, flags: gfp_t, node: c_int) -> *mut c_void {
    // SAFETY: the caller's word.
    unsafe { slow(s, flags, node) }
}

/// # Safety
/// As [`kmem_cache_alloc`], but storage that is not set up is refused.
#[cold]
#[inline(never)]
unsafe extern "C" fn slow(s: *mut kmem_cache, flags: gfp_t, node: c_int) -> *mut c_void {
    guard(null_mut(), || {
        // SAFETY: the caller's word.
        let cache = unsafe { raw(s) }?;
        let flags = options(flags)?;
        let object = match known_node(node)? {
            None => cache.alloc(flags),
            Some(node) => cache.alloc_node(flags, node),
        };
        object.map(|object| object.as_ptr().cast()).ok_or_else(|| no_object("an object"))
    })
}

/// A node's number; `None` is any.
///
/// # Errors
/// EINVAL for one that is not there.
pub fn known_node(node: c_int) -> Result<Option<u32>, Failure> {
    if node == NUMA_NO_NODE {
        return Ok(None);
    }
    let nodes = process::arena()?.nodes();
    let known = u32::try_from(node).ok().filter(|&node| node < nodes);
    known.map(Some).ok_or_else(|| {
        let legal = format!("NUMA_NO_NODE, or 0 to {}", nodes - 1);
        Error::BadArgument { cache: String::new(), argument: "node", value: node.to_string(), legal }.into()
    })
}

/// Gives an object back. NULL: nothing happens. An address where no memory of the library is, as one of malloc or of another
/// copy of the library, is reported (errno EFAULT), and nothing happens. Never waits for another thread.
///
/// # Safety
/// If the library's, `object` came from this cache and the caller gives up its only owner. `s` as for kmem_cache_alloc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_free(s: *mut kmem_cache, object: *mut c_void) {
    let object = object.cast();
    // SAFETY: what the library holds is not null; the first word of a cache is its handle; the rest is the caller's word.
    if process::holds(object) && unsafe { RawCache::put_at(s.cast(), NonNull::new_unchecked(object)) } {
        return;
    }
    // SAFETY: as above.
    unsafe { free_slow(s, object) };
}

/// # Safety
/// As [`kmem_cache_free`].
#[cold]
#[inline(never)]
unsafe extern "C" fn free_slow(s: *mut kmem_cache, object: *mut u8) {
    let Some(object) = NonNull::new(object) else { return };
    reporting(|| {
        own(object)?;
        // SAFETY: the caller's word.
        unsafe { raw(s)?.free(object) };
        Ok(())
    });
}

/// Refuses an address outside of the arena.
///
/// # Errors
/// EFAULT.
pub fn own(object: NonNull<u8>) -> Result<(), Failure> {
    if process::holds(object.as_ptr()) {
        return Ok(());
    }
    let why = "the address is foreign: outside of this library's memory";
    Err(Error::BadPointer { cache: String::new(), address: object.as_ptr().addr(), why }.into())
}

/// Looks whether an object of this cache starts at the address: 0, or -EFAULT, and haybarn_error() says whose it is. It takes a
/// lock, and cannot see that the object was freed.
///
/// # Safety
/// As kmem_cache_alloc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_check(s: *mut kmem_cache, object: *const c_void) -> c_int {
    status(|| {
        // SAFETY: the caller's word.
        unsafe { raw(s) }?.check(object.cast())?;
        Ok(())
    })
}

/// Reports what lies at an address: which object of which cache, or how many bytes of whole pages. False for what is not the
/// library's or no start of anything; errno is EFAULT then. It takes a lock.
#[unsafe(no_mangle)]
pub extern "C" fn kmem_dump_obj(object: *const c_void) -> bool {
    guard(false, || {
        let found = kmalloc::provenance(process::arena()?, object.cast())?;
        say(&found);
        Ok(true)
    })
}

/// Counts an object that was allocated without __GFP_ACCOUNT in its cache's attribute `accounted`. False, with errno EFAULT, for
/// what is no object of a cache.
///
/// # Safety
/// `object` is live memory of the library, or none of its at all.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_charge(object: *mut c_void, flags: gfp_t) -> bool {
    guard(false, || {
        options(flags)?;
        // SAFETY: the caller's word.
        let cache = unsafe { kmalloc::cache_at(process::arena()?, object.cast()) };
        cache.ok_or(Failure::Is(libc::EFAULT, "only objects of caches are charged"))?.charge();
        Ok(true)
    })
}
