//! Calling Python from a thread that the interpreter may end in the middle of the call.
//!
//! Up to Python 3.13 an interpreter that goes ends such threads by unwinding them (`pthread_exit`) where they ask for the GIL, right
//! through frames of Rust, whose destructors would let go of a GIL that they do not have, and which may not be passed at all. From
//! 3.14 on it lets them hang; so do we. So whatever may run code that is not ours (callbacks, `__del__`, `__index__`, iterators)
//! is called from here, by a pointer that may unwind, and the first frame of Rust above the interpreter's is one that hangs.

use std::ffi::{CStr, c_char, c_int};
use std::hint::black_box;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

type Object = *mut ffi::PyObject;
/// Calls of the interpreter, as what they are here: calls that may unwind.
type One = unsafe extern "C-unwind" fn(Object) -> Object;
type Three = unsafe extern "C-unwind" fn(Object, Object, Object) -> Object;
type Nothing = unsafe extern "C-unwind" fn(Object);

/// Calls `f()`.
pub(crate) fn call<'py>(f: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: the function takes one object, and gives back a new reference, or null with an error set.
    unsafe { one(ffi::PyObject_CallNoArgs as *const (), f) }
}

/// Calls `f(argument)`.
pub(crate) fn call_with<'py>(f: &Bound<'py, PyAny>, argument: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let arguments = PyTuple::new(f.py(), [argument])?;
    // SAFETY: the function has that signature, but for the unwinding.
    let call = unsafe { std::mem::transmute::<*const (), Three>(hidden(ffi::PyObject_Call as *const ())) };
    // SAFETY: attached, with a tuple and no keywords; a new reference or null with an error set comes back.
    let result = or_hang(|| unsafe { call(f.as_ptr(), arguments.as_ptr(), std::ptr::null_mut()) });
    // SAFETY: as above.
    unsafe { Bound::from_owned_ptr_or_err(f.py(), result) }
}

/// `operator.index(value)`.
pub(crate) fn index<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: as in `call`.
    unsafe { one(ffi::PyNumber_Index as *const (), value) }
}

/// `float(value)`, but no text.
pub(crate) fn float(value: &Bound<'_, PyAny>) -> PyResult<f64> {
    type Float = unsafe extern "C-unwind" fn(Object) -> f64;
    // SAFETY: the function has that signature, but for the unwinding.
    let call = unsafe { std::mem::transmute::<*const (), Float>(hidden(ffi::PyFloat_AsDouble as *const ())) };
    // SAFETY: attached; -1 may come with an error set.
    let result = or_hang(|| unsafe { call(value.as_ptr()) });
    match PyErr::take(value.py()).filter(|_| result == -1.0) {
        Some(error) => Err(error),
        None => Ok(result),
    }
}

/// `str(value)`.
pub(crate) fn text<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: as in `call`.
    unsafe { one(ffi::PyObject_Str as *const (), value) }
}

/// A warning from where this was called.
pub(crate) fn warn(category: &Bound<'_, PyType>, text: &CStr) -> PyResult<()> {
    type Warn = unsafe extern "C-unwind" fn(Object, *const c_char, ffi::Py_ssize_t) -> c_int;
    // SAFETY: the function has that signature, but for the unwinding.
    let call = unsafe { std::mem::transmute::<*const (), Warn>(hidden(ffi::PyErr_WarnEx as *const ())) };
    // SAFETY: attached; not 0 comes with an error set.
    match or_hang(|| unsafe { call(category.as_ptr(), text.as_ptr(), 1) }) {
        0 => Ok(()),
        _ => Err(PyErr::fetch(category.py())),
    }
}

/// Lets go of a reference, which may be the last one.
pub(crate) fn forget(object: Bound<'_, PyAny>) {
    // SAFETY: attached, and the reference is given away.
    unsafe { nothing(ffi::Py_DecRef as *const (), object.into_ptr()) }
}

/// Gives an error to `sys.unraisablehook`, with what it is about.
pub(crate) fn unraisable(py: Python<'_>, error: PyErr, about: Option<&Bound<'_, PyAny>>) {
    error.restore(py);
    // SAFETY: attached, with an error set; null is legal.
    unsafe { nothing(ffi::PyErr_WriteUnraisable as *const (), about.map_or(std::ptr::null_mut(), Bound::as_ptr)) }
}

/// # Safety
/// `function` takes an object and gives back a new reference, or null with an error set.
unsafe fn one<'py>(function: *const (), object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: the caller's promise, but for the unwinding.
    let call = unsafe { std::mem::transmute::<*const (), One>(hidden(function)) };
    // SAFETY: attached.
    let result = or_hang(|| unsafe { call(object.as_ptr()) });
    // SAFETY: the caller's promise.
    unsafe { Bound::from_owned_ptr_or_err(object.py(), result) }
}

/// # Safety
/// `function` takes an object, this one too, and gives back nothing; this thread is attached.
unsafe fn nothing(function: *const (), object: Object) {
    // SAFETY: the caller's promise, but for the unwinding.
    let call = unsafe { std::mem::transmute::<*const (), Nothing>(hidden(function)) };
    // SAFETY: as above.
    or_hang(|| unsafe { call(object) });
}

/// A pointer that the compiler cannot see through: PyO3 declares the functions as ones that do not unwind, and what links the crates
/// together believes that of every call by its name.
fn hidden(function: *const ()) -> *const () {
    black_box(function)
}

/// If the interpreter ends this thread in `call`, it hangs instead.
fn or_hang<R>(call: impl FnOnce() -> R) -> R {
    let hang = HangInstead;
    let result = call();
    std::mem::forget(hang);
    result
}

struct HangInstead;

impl Drop for HangInstead {
    fn drop(&mut self) {
        while !std::thread::panicking() {
            std::thread::park();
        }
    }
}
