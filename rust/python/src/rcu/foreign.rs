//! Calling Python from a thread that the interpreter may end in the middle of the call.
//!
//! Up to Python 3.13 an interpreter that goes ends such threads by unwinding them (`pthread_exit`), right through frames of
//! Rust, whose destructors would let go of a GIL that they do not have. From 3.14 on it lets them hang; so do we.

use pyo3::ffi;
use pyo3::prelude::*;

unsafe extern "C-unwind" {
    /// The same as PyO3's, but declared as what it is here: a call that may unwind.
    fn PyObject_CallNoArgs(callable: *mut ffi::PyObject) -> *mut ffi::PyObject;
}

/// Calls `f()`. If the interpreter ends this thread in there, it hangs instead.
pub(super) fn call(f: &Bound<'_, PyAny>) -> PyResult<()> {
    let hang = HangInstead;
    // SAFETY: attached; a new reference or null with an error set comes back.
    let result = unsafe { PyObject_CallNoArgs(f.as_ptr()) };
    std::mem::forget(hang);
    // SAFETY: as above.
    unsafe { Bound::from_owned_ptr_or_err(f.py(), result) }.map(drop)
}

struct HangInstead;

impl Drop for HangInstead {
    fn drop(&mut self) {
        while !std::thread::panicking() {
            std::thread::park();
        }
    }
}
