//! The end of a cache that nobody refers to any more: its destructors run while it still is a whole Python object, before the
//! garbage collector takes anything apart (PEP 442). PyO3 has no slot for it, so the class gets it by hand.

use std::sync::OnceLock;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::cache::KmemCache;
use crate::ending;
use crate::foreign;
use crate::lifetimes::later;
use crate::prefilled::PrefilledSheaf;
use crate::registry;

/// What PyO3 does at the end of an instance.
static DEALLOC: OnceLock<ffi::destructor> = OnceLock::new();

/// Gives the class its finalizer, while it is being made ready and has no instances.
pub(crate) fn install(class: &Bound<'_, PyType>) {
    let this = class.as_type_ptr();
    // SAFETY: a heap type of ours that nobody else uses yet; a second import finds it changed.
    unsafe {
        if let Some(theirs) = (*this).tp_dealloc.filter(|&theirs| theirs as usize != dealloc as *const () as usize) {
            let _first = DEALLOC.set(theirs);
            (*this).tp_finalize = Some(finalize);
            (*this).tp_dealloc = Some(dealloc);
        }
    }
}

unsafe extern "C" fn dealloc(cache: *mut ffi::PyObject) {
    // SAFETY: called by the interpreter, attached, with an instance whose last reference is gone.
    unsafe {
        if ffi::PyObject_CallFinalizerFromDealloc(cache) < 0 {
            // A destructor has made a new reference: the cache lives on, destroyed.
            return;
        }
        if let Some(theirs) = DEALLOC.get() {
            theirs(cache);
        }
    }
}

/// Called once for each cache, by the garbage collector or at its last reference.
unsafe extern "C" fn finalize(cache: *mut ffi::PyObject) {
    // SAFETY: called by the interpreter, attached, with an instance, for the length of this call referenced.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: as above.
    let cache = unsafe { Bound::from_borrowed_ptr(py, cache).cast_into_unchecked::<KmemCache>() };
    let guarded = &cache.get().guarded;
    if guarded.is_destroyed() {
        return;
    }
    let raised = PyErr::take(py);
    // The destructor of the memory of a plain cache will do.
    let is_plain = guarded.lifetimes().is_none() && !guarded.may_end_late(py);
    let ended = if is_plain { Ok(()) } else { ending::last_reference_gone(&cache) };
    if let Err(error) = ended.and_then(|()| if guarded.is_destroyed() { Ok(()) } else { registry::keep_known(&cache) })
    {
        foreign::unraisable(py, error, Some(cache.as_any()));
    }
    if !is_plain {
        later::run(py);
    }
    if let Some(raised) = raised {
        raised.restore(py);
    }
}

/// Gives the class of prefilled sheaves its finalizer, as [`install`]: one that is garbage together with its cache goes back while
/// the cache's callbacks are whole.
pub(crate) fn install_for_sheaves(class: &Bound<'_, PyType>) {
    // SAFETY: a heap type of ours that nobody else uses yet.
    unsafe { (*class.as_type_ptr()).tp_finalize = Some(finalize_sheaf) };
}

/// Called once for each sheaf that is garbage, by the garbage collector.
unsafe extern "C" fn finalize_sheaf(sheaf: *mut ffi::PyObject) {
    // SAFETY: called by the interpreter, attached, with an instance, for the length of this call referenced.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: as above.
    let sheaf = unsafe { Bound::from_borrowed_ptr(py, sheaf).cast_into_unchecked::<PrefilledSheaf>() };
    let raised = PyErr::take(py);
    sheaf.get().end_with_last_reference(py);
    if let Some(raised) = raised {
        raised.restore(py);
    }
}
