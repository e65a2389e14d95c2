//! Calling Python from a thread that the interpreter may end in the middle of the call.
//!
//! Up to Python 3.13 an interpreter that goes ends such threads by unwinding them (`pthread_exit`), right through frames of
//! Rust, whose destructors would let go of a GIL that they do not have. From 3.14 on it lets them hang; so do we.

use std::hint::black_box;

use pyo3::ffi;
use pyo3::prelude::*;

/// `PyObject_CallNoArgs`, as what it is here: a call that may unwind.
type Call = unsafe extern "C-unwind" fn(*mut ffi::PyObject) -> *mut ffi::PyObject;

/// Calls `f()`. If the interpreter ends this thread in there, it hangs instead.
pub(super) fn call(f: &Bound<'_, PyAny>) -> PyResult<()> {
    // By a pointer that the compiler cannot see through: PyO3 declares the function as one that does not unwind, and what links
    // the crates together believes that of every call by its name.
    let function = black_box(ffi::PyObject_CallNoArgs as *const ());
    // SAFETY: the function has that signature, but for the unwinding.
    let call = unsafe { std::mem::transmute::<*const (), Call>(function) };
    let hang = HangInstead;
    // SAFETY: attached; a new reference or null with an error set comes back.
    let result = unsafe { call(f.as_ptr()) };
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
