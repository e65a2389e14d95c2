//! Objects of a cache with a constructor or destructor: a type below `SlabObject` that the garbage collector sees through, because
//! the callbacks may refer to what holds the object. Other caches' objects are not made to pay for that.
//!
//! An object that is garbage is freed by its finalizer, while everything is whole (PEP 442), so that its cache, if that is garbage
//! too, ends and runs its destructors before the collector takes the callbacks apart. What a buffer still looks into cannot be
//! freed then; such a cache runs no destructors any more. That holds too when the collector comes back for it later, after something
//! pending (see `ending`) or somebody's finalizer has kept it for a while: finalizers are not called again, so from its own on every
//! object that goes late may go with the callbacks.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::ptr::NonNull;

use haybarn::fault::{Point, request};
use pyo3::ffi;
use pyo3::prelude::*;

use super::layout::SlabObject;
use super::retire;
use super::slots::{self, Table};
use crate::cache::KmemCache;
use crate::gate::Here;

const DOC: &std::ffi::CStr =
    c"One object of a KmemCache with a constructor or destructor: a SlabObject that the garbage collector knows.";

static TYPE: Table<ffi::PyTypeObject> = Table(UnsafeCell::new(plain()));

const fn plain() -> ffi::PyTypeObject {
    // SAFETY: the C API defines an all-zero type object as the starting point of a static type.
    let mut plain: ffi::PyTypeObject = unsafe { std::mem::zeroed() };
    plain.ob_base = ffi::PyVarObject { ob_base: ffi::PyObject_HEAD_INIT, ob_size: 0 };
    plain.tp_name = c"haybarn.ConstructedObject".as_ptr();
    plain.tp_basicsize = size_of::<SlabObject>() as ffi::Py_ssize_t;
    plain.tp_dealloc = Some(dealloc);
    plain.tp_traverse = Some(traverse);
    plain.tp_finalize = Some(finalize);
    plain.tp_free = Some(ffi::PyObject_GC_Del);
    plain.tp_doc = DOC.as_ptr();
    plain
}

/// Readies the type, after that of `SlabObject`.
pub(super) fn ready(py: Python<'_>) -> PyResult<()> {
    let this = TYPE.0.get();
    // SAFETY: attached; one import at a time runs this, before any instance exists.
    unsafe {
        if (*this).tp_dict.is_null() {
            (*this).tp_base = slots::type_object();
            slots::set_flags(this, ffi::Py_TPFLAGS_HAVE_GC);
            if ffi::PyType_Ready(this) != 0 {
                return Err(PyErr::fetch(py));
            }
        }
    }
    Ok(())
}

/// Whether objects of the cache are of this type.
pub(super) fn is_for(cache: &KmemCache) -> bool {
    cache.guarded.lifetimes().is_some()
}

/// Whether the object is of this type.
///
/// # Safety
/// `object` is a live Python object.
pub(super) unsafe fn is_collected(object: *mut ffi::PyObject) -> bool {
    // SAFETY: the caller's promise.
    unsafe { ffi::Py_TYPE(object) == TYPE.0.get() }
}

/// Memory for an instance, with its head in place; `None` when memory is out, and no error is set.
///
/// # Safety
/// The interpreter is attached.
pub(super) unsafe fn set_aside(py: Python<'_>) -> Option<NonNull<SlabObject>> {
    if !request(Point::Wrapper, size_of::<SlabObject>()) {
        return None;
    }
    // SAFETY: attached; the type is ready since the module is.
    let memory = NonNull::new(unsafe { ffi::PyObject_GC_New::<SlabObject>(TYPE.0.get()) });
    if memory.is_none() {
        drop(PyErr::take(py));
    }
    memory
}

/// Takes memory back that nobody has seen.
///
/// # Safety
/// The interpreter is attached; `memory` came from [`set_aside`] and was not filled.
pub(super) unsafe fn put_back(memory: NonNull<SlabObject>) {
    // SAFETY: the caller's promise; it is not tracked.
    unsafe { ffi::PyObject_GC_Del(memory.as_ptr().cast()) };
}

/// Makes it a live object, which the collector knows from now on.
///
/// # Safety
/// As for [`SlabObject::fill`], with memory from [`set_aside`]; the interpreter is attached.
pub(super) unsafe fn fill(memory: NonNull<SlabObject>, address: NonNull<u8>, cache: NonNull<ffi::PyObject>) {
    // SAFETY: the caller's promise.
    unsafe {
        SlabObject::fill(memory, address, cache);
        ffi::PyObject_GC_Track(memory.as_ptr().cast());
    }
}

unsafe extern "C" fn traverse(object: *mut ffi::PyObject, visit: ffi::visitproc, argument: *mut c_void) -> c_int {
    // SAFETY: called by the garbage collector with a tracked instance.
    unsafe { visit(SlabObject::from_ptr(object).cache_ptr(), argument) }
}

/// It is garbage: freed as by its last reference, before anything is taken apart.
unsafe extern "C" fn finalize(object: *mut ffi::PyObject) {
    // SAFETY: called by the garbage collector, attached, with an instance that is referenced for the length of this call.
    let (py, this) = unsafe { (Python::assume_attached(), SlabObject::from_ptr(object)) };
    // Else it is freed already, or a buffer looks into it.
    if this.state.free().is_ok() {
        let raised = PyErr::take(py);
        // SAFETY: the state has just gone from live to freed, which happens once.
        unsafe { this.cache(py).guarded.free(py, &Here::new(), this.address()) };
        if let Some(raised) = raised {
            raised.restore(py);
        }
    }
}

/// The last reference is gone: what was not freed is freed now.
unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: called by the interpreter, attached, with an instance whose last reference is gone.
    unsafe {
        let py = Python::assume_attached();
        ffi::PyObject_GC_UnTrack(object.cast());
        let this = SlabObject::from_ptr(object);
        if this.has_weakrefs() {
            ffi::PyObject_ClearWeakRefs(object);
        }
        // Nobody else can change the state any more, so a look is enough.
        if !this.state.is_freed() {
            retire::goes_late(py, object);
            this.cache(py).guarded.free(py, &Here::new(), this.address());
        }
        let cache = this.cache_ptr();
        ffi::PyObject_GC_Del(object.cast());
        ffi::Py_DECREF(cache);
    }
}
