//! Asks the interpreter for a moment outside of everything, where a thread that is not attached leaves something behind.

use std::ffi::{c_int, c_void};

use pyo3::ffi;
use pyo3::prelude::*;

use super::later;

/// From any thread. Where the interpreter's list is full, the next long call does it.
pub(crate) fn ask() {
    // SAFETY: both are callable from any thread, attached or not, the second while the interpreter lives.
    unsafe {
        if ffi::Py_IsInitialized() != 0 {
            ffi::Py_AddPendingCall(Some(pending), std::ptr::null_mut());
        }
    }
}

extern "C" fn pending(_: *mut c_void) -> c_int {
    // In a forked child the interpreter may come here before our hook has taken care of what its threads have left behind.
    if later::is_prepared() {
        // SAFETY: called by the interpreter on its main thread, attached.
        later::run(unsafe { Python::assume_attached() });
    }
    0
}
