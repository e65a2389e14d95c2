//! Asks the interpreter for a moment outside of everything, where a thread that is not attached leaves something behind.

use std::ffi::{c_int, c_void};

use haybarn::fork_generation;
use haybarn::sync::Published;
use pyo3::ffi;
use pyo3::prelude::*;

use super::later;

/// The process, by its fork generation plus 1, that has been asked and has not come yet.
static ASKED: Published = Published::new(0);

/// From any thread. Where the interpreter's list is full, whoever asks next, or runs what was put off, sees to this too.
pub(crate) fn ask() {
    let (seen, this) = (ASKED.read(), fork_generation() + 1);
    if seen == this || ASKED.publish_if(seen, this).is_err() {
        return;
    }
    // SAFETY: both are callable from any thread, attached or not, the second while the interpreter lives.
    let asked =
        unsafe { ffi::Py_IsInitialized() != 0 && ffi::Py_AddPendingCall(Some(pending), std::ptr::null_mut()) == 0 };
    if !asked {
        ASKED.publish(0);
    }
}

extern "C" fn pending(_: *mut c_void) -> c_int {
    ASKED.publish(0);
    // In a forked child the interpreter may come here before our hook has taken care of what its threads have left behind.
    if later::is_prepared() {
        // SAFETY: called by the interpreter on its main thread, attached.
        later::run(unsafe { Python::assume_attached() });
    }
    0
}
