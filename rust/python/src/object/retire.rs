//! `free_rcu`: an object that readers may still look at is reused after a grace period, and after its last view.
//!
//! Without views it goes to the core at once. With views the last one to go hands it over, in the buffer's release, where
//! nothing may wait and nothing can be raised. If the core would have to wait there (no memory to remember the object by),
//! the object is **parked**: its wrapper gets a reference and a place in a list, whose link is the wrapper's own state word, so
//! that parking cannot fail. What is parked is handed over by the next call that may wait: a `free_rcu`, a barrier, the end of
//! a cache, the end of the outermost read section.

use std::ptr::NonNull;
use std::sync::OnceLock;

use haybarn::{Error, rcu};
use pyo3::ffi;
use pyo3::prelude::*;

use super::layout::SlabObject;
use crate::errors::{self, Kind};
use crate::foreign;
use crate::lifetimes::{inside, later};
use crate::state::{Parked, Retired};

/// `free_rcu` of an object, which the caller holds.
pub(super) fn free_rcu(py: Python<'_>, object: &SlabObject) -> PyResult<()> {
    match object.state.retire() {
        Err(refusal) => return Err(object.refused(py, refusal, true)),
        Ok(Retired::AtLastRelease) => (),
        Ok(Retired::Now) if object.cache(py).guarded.puts_off() => park_for_later(object),
        Ok(Retired::Now) => {
            if let Err(error) = hand_over(py, object) {
                object.state.unclaim();
                return Err(error);
            }
        }
    }
    hand_over_parked(py);
    Ok(())
}

/// Gives an object to the core, waiting if need be.
fn hand_over(py: Python<'_>, object: &SlabObject) -> PyResult<()> {
    let cache = object.cache(py);
    // SAFETY: the state says that the object is this call's alone (claimed, or retired without views), so it is live.
    let done = unsafe { cache.guarded.try_free_rcu(py, object.address()) };
    if !done {
        if inside::must_not_wait() {
            return Err(inside::would_wait(py, cache.guarded.serial(), &cache.name));
        }
        // SAFETY: as above.
        let waited = unsafe { cache.guarded.free_rcu_waiting(py, object.address()) };
        waited.map_err(|error| match error {
            Error::InReadSection { .. } => {
                errors::error(py, Kind::ReadSection, format!("cache '{}': {error}", cache.name))
            }
            error => errors::from_core(py, error),
        })?;
    }
    object.state.free_claimed();
    Ok(())
}

/// The last view of a retired object is gone: hands the object over, or parks it.
///
/// # Safety
/// Attached; `object` is an instance, referenced by the caller, who got `true` from `unexport`.
#[cold]
pub(super) unsafe fn last_view_gone(py: Python<'_>, object: *mut ffi::PyObject) {
    // SAFETY: the caller's promise; the object is this call's alone, and live.
    unsafe {
        goes_late(py, object);
        let this = SlabObject::from_ptr(object);
        let guarded = &this.cache(py).guarded;
        if guarded.puts_off() {
            park_for_later(this);
        } else if guarded.try_free_rcu(py, this.address()) {
            this.state.free_claimed();
        } else {
            park(this);
        }
    }
}

/// Called before a live object goes back by its deallocation or its last buffer. Of a cache with callbacks one whose finalizer has
/// been called could not be freed by that, and the callbacks may be in pieces by now if the cache was garbage with it.
///
/// # Safety
/// Attached; `object` is a filled instance.
pub(super) unsafe fn goes_late(py: Python<'_>, object: *mut ffi::PyObject) {
    // SAFETY: the caller's promise.
    let cache = unsafe { SlabObject::from_ptr(object) }.cache(py);
    let Some(lifetimes) = cache.guarded.lifetimes() else { return };
    // SAFETY: objects of caches with callbacks have the collector's head.
    if unsafe { ffi::PyObject_GC_IsFinalized(object) } != 0 && lifetimes.abandon() {
        let raised = PyErr::take(py);
        foreign::unraisable(py, cache.abandoned(py), None);
        if let Some(raised) = raised {
            raised.restore(py);
        }
    }
}

/// Parked wrappers, by their addresses. Each holds a reference to itself.
fn parked() -> &'static Parked {
    static PARKED: OnceLock<Parked> = OnceLock::new();
    PARKED.get_or_init(Parked::none)
}

/// Parks what this thread cannot hand over inside of a callback, until it is outside.
#[cold]
fn park_for_later(object: &SlabObject) {
    park(object);
    later::put_off(hand_over_parked);
}

/// Parks an object that is the caller's alone.
#[cold]
fn park(object: &SlabObject) {
    let pointer = std::ptr::from_ref(object).cast_mut().cast::<ffi::PyObject>();
    // SAFETY: a wrapper is a Python object, which the caller holds; the list holds it from now on.
    unsafe { ffi::Py_INCREF(pointer) };
    parked().push(&object.state, pointer.expose_provenance() as u64);
}

/// Hands over what is parked, if this thread may wait.
pub(crate) fn hand_over_parked(py: Python<'_>) {
    if parked().is_empty() || rcu::is_reading() || inside::anything() {
        return;
    }
    let mut next = parked().take();
    while let Some(object) = NonNull::new(std::ptr::with_exposed_provenance_mut::<ffi::PyObject>(next as usize)) {
        // SAFETY: what is in the list is an instance, with a reference that is ours now.
        let (this, held) =
            unsafe { (SlabObject::from_ptr(object.as_ptr()), Bound::from_owned_ptr(py, object.as_ptr())) };
        next = this.state.parked_before();
        if hand_over(py, this).is_err() {
            // Only a reader is refused, and this thread is none; should that ever change, nothing is lost.
            park(this);
        }
        drop(held);
    }
}
