//! Allocation and free from any context, signal handlers included: see docs/nolock.md.
//!
//! These set neither errno nor a text, which the interrupted code may be about to read: NULL says all.

use crate::abi::{NUMA_NO_NODE, gfp_t};
use crate::failure::{keeping_errno, reporting};
use crate::handle::{kmem_cache, options, raw};
use crate::objects::{PLAIN, own};
use crate::process;
use core::ffi::{c_int, c_void};
use core::ptr::{NonNull, null_mut};
use haybarn_core::{RawCache, kmalloc as family};
use std::panic::{AssertUnwindSafe, catch_unwind};

fn quietly(call: impl FnOnce() -> Option<NonNull<u8>>) -> *mut c_void {
    let found = catch_unwind(AssertUnwindSafe(call));
    found.ok().flatten().map_or(null_mut(), |object| object.as_ptr().cast())
}

/// kmem_cache_alloc for signal handlers, whatever they interrupt, and for any other context: no lock, no system call, no
/// constructor. NULL: memory is out, or pages would have to come from the system; also for flags without a name, and where nothing is
/// set up. Do not try again in the handler: nothing changes there.
///
/// # Safety
/// As kmem_cache_alloc, but NULL and storage that is not set up give NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_alloc_nolock(s: *mut kmem_cache, flags: gfp_t) -> *mut c_void {
    if flags & !PLAIN == 0 {
        // SAFETY: the caller's word, here and below.
        if let Ok(cache) = unsafe { raw(s) } {
            // SAFETY: as above; the handle is that of a living cache.
            let object = unsafe { RawCache::hit_at(&raw const cache) };
            if !object.is_null() {
                return object.cast();
            }
        }
    }
    quietly(|| {
        let flags = options(flags).ok()?;
        // SAFETY: the caller's word.
        unsafe { raw(s) }.ok()?.alloc_nolock(flags)
    })
}

/// kmem_cache_free for signal handlers and any other context. An address that is not the library's is reported; a reporter that
/// a program has set must be fit for that. errno stays.
///
/// # Safety
/// As kmem_cache_free, but what is no cache is reported.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_free_nolock(s: *mut kmem_cache, object: *mut c_void) {
    let Some(object) = NonNull::new(object.cast()) else { return };
    if process::holds(object.as_ptr()) {
        // SAFETY: the caller's word, here and below.
        if let Ok(cache) = unsafe { raw(s) } {
            // SAFETY: as above; the handle is that of a living cache.
            if unsafe { RawCache::put_at(&raw const cache, object) } {
                return;
            }
        }
    }
    keeping_errno(|| {
        reporting(|| {
            own(object)?;
            // SAFETY: the caller's word.
            unsafe { raw(s)?.free_nolock(object) };
            Ok(())
        });
    });
}

/// kmalloc for signal handlers and any other context: see kmem_cache_alloc_nolock. Up to KMALLOC_MAX_CACHE_SIZE, of a size class
/// that has been used before: a program asks once outside for each size that its handlers will want.
#[unsafe(no_mangle)]
pub extern "C" fn kmalloc_nolock(size: usize, flags: gfp_t, node: c_int) -> *mut c_void {
    if flags & !PLAIN == 0
        && node == NUMA_NO_NODE
        && let Some(arena) = process::known()
    {
        let object = family::hit(arena, size);
        if !object.is_null() {
            return object.cast();
        }
    }
    quietly(|| {
        let (arena, flags) = (process::known()?, options(flags).ok()?);
        if node == NUMA_NO_NODE {
            return family::kmalloc_nolock(arena, size, flags);
        }
        let node = u32::try_from(node).ok().filter(|&node| node < arena.nodes())?;
        family::kmalloc_node_nolock(arena, size, flags, node)
    })
}

/// kfree for signal handlers and any other context: see kmem_cache_free_nolock. Takes what any function of the family gave.
///
/// # Safety
/// As kfree.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kfree_nolock(object: *const c_void) {
    let object = object.cast_mut().cast();
    // SAFETY: the caller's word.
    if process::known().is_some_and(|arena| unsafe { family::put(arena, object) }) {
        return;
    }
    keeping_errno(|| {
        reporting(|| {
            let Some(arena) = process::known() else {
                // Before the arena is there, nothing is its.
                return NonNull::new(object).map_or(Ok(()), own);
            };
            // SAFETY: the caller's word.
            unsafe { family::try_kfree_nolock(arena, object) }?;
            Ok(())
        });
    });
}
