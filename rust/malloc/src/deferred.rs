//! RCU, and frees after a grace period.

use crate::abi::rcu_head;
use crate::failure::{Failure, guard, status};
use crate::handle::{kmem_cache, raw};
use crate::objects::own;
use crate::process;
use core::ffi::{c_int, c_ulong, c_void};
use core::ptr::NonNull;
use haybarn_core::kmalloc as family;
use haybarn_core::rcu::{self, Cookie};

/// Begins a read section; sections nest. Never waits; may be called from signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn rcu_read_lock() {
    // SAFETY: the program ends it: a section that is left open holds grace periods up and nothing else.
    unsafe { rcu::read_lock_raw() };
}

/// Ends the section that the thread's last rcu_read_lock began.
///
/// # Safety
/// The calling thread is in a section, and uses nothing any more that it read in it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rcu_read_unlock() {
    // SAFETY: the caller's word.
    unsafe { rcu::read_unlock_raw() };
}

/// Whether the calling thread is in a read section.
#[unsafe(no_mangle)]
pub extern "C" fn rcu_read_lock_held() -> bool {
    rcu::is_reading()
}

/// Waits until every read section that had begun has ended. 0, or -EDEADLK in a section of the calling thread.
#[unsafe(no_mangle)]
pub extern "C" fn synchronize_rcu() -> c_int {
    status(|| rcu::synchronize().map_err(Failure::from))
}

/// Waits until all callbacks that were queued before have been run, and all that waits for readers in caches is free. 0, or
/// -EDEADLK in a read section and in a callback.
#[unsafe(no_mangle)]
pub extern "C" fn rcu_barrier() -> c_int {
    status(|| rcu::barrier().map_err(Failure::from))
}

/// The same as rcu_barrier.
#[unsafe(no_mangle)]
pub extern "C" fn kvfree_rcu_barrier() -> c_int {
    rcu_barrier()
}

/// Waits until what this cache had waiting for readers is free. 0, or -EDEADLK in a read section.
///
/// # Safety
/// As kmem_cache_alloc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvfree_rcu_barrier_on_cache(s: *mut kmem_cache) -> c_int {
    status(|| {
        // SAFETY: the caller's word.
        unsafe { raw(s) }?.rcu_barrier()?;
        Ok(())
    })
}

/// The grace period that who unpublished something before this call has to see over before freeing it. Starts nothing.
#[unsafe(no_mangle)]
pub extern "C" fn get_state_synchronize_rcu() -> c_ulong {
    rcu::get_state().0
}

/// get_state_synchronize_rcu, and begins the period.
#[unsafe(no_mangle)]
pub extern "C" fn start_poll_synchronize_rcu() -> c_ulong {
    let state = rcu::get_state();
    guard((), || {
        let _over = rcu::poll_state(state);
        Ok(())
    });
    state.0
}

/// Whether that grace period is over. Never waits.
#[unsafe(no_mangle)]
pub extern "C" fn poll_state_synchronize_rcu(state: c_ulong) -> bool {
    guard(false, || Ok(rcu::poll_state(Cookie(state))))
}

/// Waits until that grace period is over; at once if it is. 0, -EDEADLK in a read section, -EINVAL for a number that is no state.
#[unsafe(no_mangle)]
pub extern "C" fn cond_synchronize_rcu(state: c_ulong) -> c_int {
    status(|| rcu::cond_synchronize(Cookie(state)).map_err(Failure::from))
}

/// Runs `func(head)` after a grace period, on a thread of the library or in a barrier. It must return.
///
/// # Safety
/// `func` may be called with `head` then, whose memory nobody else changes until then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn call_rcu(
    head: *mut rcu_head,
    func: Option<unsafe extern "C" fn(head: *mut rcu_head)>,
) -> c_int {
    status(|| {
        let func = func.ok_or(Failure::Is(libc::EINVAL, "call_rcu has no function to call"))?;
        let head = head.expose_provenance();
        // SAFETY: the caller's word.
        rcu::call(Box::new(move || unsafe { func(core::ptr::with_exposed_provenance_mut(head)) }));
        Ok(())
    })
}

/// kfree after a grace period: readers may look at the memory until then. NULL: nothing happens. It waits only where much waits
/// already, at most 10 ms. 0, -EFAULT for what is not the library's, -EDEADLK without memory in a read section; the memory
/// is the caller's then.
///
/// # Safety
/// As kfree; new readers cannot find the memory any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvfree_rcu_mightsleep(object: *const c_void) -> c_int {
    let object = object.cast_mut().cast::<u8>();
    status(|| {
        let arena = process::arena()?;
        // SAFETY: the caller's word, here and below.
        if unsafe { family::try_ksize(arena, object) }? == 0 {
            return Ok(());
        }
        // SAFETY: as above.
        let cache = unsafe { family::cache_at(arena, object) };
        match (cache, NonNull::new(object)) {
            // SAFETY: as above.
            (Some(cache), Some(object)) => unsafe { cache.free_rcu(object) }?,
            _ => {
                let pages = object.expose_provenance();
                let free = move || {
                    // SAFETY: as above; whole pages are freed by the callback.
                    let _freed = unsafe { family::try_kfree(arena, core::ptr::with_exposed_provenance_mut(pages)) };
                };
                rcu::call(Box::new(free));
            }
        }
        Ok(())
    })
}

/// kvfree_rcu_mightsleep for an object of this cache, which it need not look for.
///
/// # Safety
/// As kvfree_rcu_mightsleep and kmem_cache_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_free_rcu(s: *mut kmem_cache, object: *mut c_void) -> c_int {
    let Some(object) = NonNull::new(object.cast()) else { return 0 };
    status(|| {
        own(object)?;
        // SAFETY: the caller's word.
        unsafe { raw(s)?.free_rcu(object) }?;
        Ok(())
    })
}
