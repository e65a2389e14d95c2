//! The type of `SlabObject`: its slots and their functions.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_ulong, c_void};
use std::ptr::{self, NonNull};

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};

use super::layout::{SlabObject, raise};
use super::{methods, retire, shells};
use crate::gate::Here;

const DOC: &std::ffi::CStr = c"One object of a KmemCache: a writable buffer of the cache's object_size bytes, or of its usercopy region.\n\n\
Made by KmemCache.alloc() and KmemCache.alloc_bulk(). Goes back to its cache by free(), at the end of `with`, or with its \
last reference. Thread-safe: of two threads that free one object, one gets DoubleFreeError.";

/// A type object or a table that the interpreter writes to.
pub(super) struct Table<T>(pub(super) UnsafeCell<T>);

// SAFETY: filled in once by `ready` (guarded by the import of the module), afterwards the interpreter's.
unsafe impl<T> Sync for Table<T> {}

static TYPE: Table<ffi::PyTypeObject> = Table(UnsafeCell::new(plain()));
static BUFFER: Table<ffi::PyBufferProcs> =
    Table(UnsafeCell::new(ffi::PyBufferProcs { bf_getbuffer: Some(getbuffer), bf_releasebuffer: Some(releasebuffer) }));
static SEQUENCE: Table<ffi::PySequenceMethods> =
    // SAFETY: a table of optional function pointers; all zeros is "none".
    Table(UnsafeCell::new(ffi::PySequenceMethods { sq_length: Some(length), ..unsafe { std::mem::zeroed() } }));

const fn plain() -> ffi::PyTypeObject {
    // SAFETY: the C API defines an all-zero type object as the starting point of a static type.
    let mut plain: ffi::PyTypeObject = unsafe { std::mem::zeroed() };
    plain.ob_base = ffi::PyVarObject { ob_base: ffi::PyObject_HEAD_INIT, ob_size: 0 };
    plain.tp_name = c"haybarn.SlabObject".as_ptr();
    plain.tp_basicsize = size_of::<SlabObject>() as ffi::Py_ssize_t;
    plain.tp_dealloc = Some(dealloc);
    plain.tp_repr = Some(repr);
    plain.tp_doc = DOC.as_ptr();
    plain.tp_weaklistoffset = SlabObject::WEAKREFS_AT as ffi::Py_ssize_t;
    plain
}

/// The one static type, and the objects kept for reuse, belong to the main interpreter.
pub(crate) fn refuse_subinterpreters(_: Python<'_>) -> PyResult<()> {
    // SAFETY: attached.
    let interpreter = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    if interpreter == 0 {
        return Ok(());
    }
    Err(PyImportError::new_err("haybarn works in the main interpreter only: import it there"))
}

/// The type.
#[inline]
pub(super) fn type_object() -> *mut ffi::PyTypeObject {
    TYPE.0.get()
}

/// Fills in what is not constant and readies the type; a second call gives the same type.
pub(super) fn ready(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    let this = type_object();
    // SAFETY: attached; one import at a time runs this, before any instance exists.
    unsafe {
        if (*this).tp_dict.is_null() {
            (*this).tp_as_buffer = BUFFER.0.get();
            (*this).tp_as_sequence = SEQUENCE.0.get();
            (*this).tp_methods = methods::methods();
            (*this).tp_getset = methods::attributes();
            set_flags(this, 0);
            if ffi::PyType_Ready(this) != 0 {
                return Err(PyErr::fetch(py));
            }
        }
        Ok(Bound::from_borrowed_ptr(py, this.cast()).cast_into_unchecked::<PyType>())
    }
}

/// No base type for Python's classes, no instances by calling it; and `more`.
pub(super) unsafe fn set_flags(this: *mut ffi::PyTypeObject, more: c_ulong) {
    let flags = ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION | more;
    // SAFETY: the caller readies the type.
    #[cfg(not(Py_GIL_DISABLED))]
    unsafe {
        (*this).tp_flags = flags;
    }
    // SAFETY: as above.
    #[cfg(Py_GIL_DISABLED)]
    unsafe {
        *(*this).tp_flags.get_mut() = flags;
    }
}

/// The last reference is gone: what was not freed is freed now.
unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: called by the interpreter, attached, with an instance whose last reference is gone; nothing of it is
    // exported, since every buffer holds a reference.
    unsafe {
        let py = Python::assume_attached();
        let this = SlabObject::from_ptr(object);
        if this.has_weakrefs() {
            ffi::PyObject_ClearWeakRefs(object);
        }
        let here = Here::new();
        // Nobody else can change the state any more, so a look is enough.
        if !this.state.is_freed() {
            this.cache(py).guarded.free(py, &here, this.address());
        }
        let cache = this.cache_ptr();
        shells::retire(&here, NonNull::new_unchecked(object.cast()));
        ffi::Py_DECREF(cache);
    }
}

/// Counts one more buffer first, so that no free can come in between.
pub(super) unsafe extern "C" fn getbuffer(
    object: *mut ffi::PyObject,
    view: *mut ffi::Py_buffer,
    flags: c_int,
) -> c_int {
    // SAFETY: called by the interpreter, attached, with an instance and a view to fill in.
    unsafe {
        let py = Python::assume_attached();
        let this = SlabObject::from_ptr(object);
        (*view).obj = ptr::null_mut();
        if let Err(refusal) = this.state.export() {
            raise(py, this.refused(py, refusal, false));
            return -1;
        }
        let (offset, bytes) = this.region(py);
        // The core has checked that the region is inside the object.
        let first = this.address().add(offset).as_ptr().cast::<c_void>();
        let filled = ffi::PyBuffer_FillInfo(view, object, first, bytes as ffi::Py_ssize_t, 0, flags);
        if filled != 0 {
            releasebuffer(object, view);
        }
        filled
    }
}

unsafe extern "C" fn releasebuffer(object: *mut ffi::PyObject, _view: *mut ffi::Py_buffer) {
    // SAFETY: called by the interpreter, attached, once for each view that `getbuffer` filled in; the view's reference is still
    // there.
    unsafe {
        if SlabObject::from_ptr(object).state.unexport() {
            retire::last_view_gone(Python::assume_attached(), object);
        }
    }
}

unsafe extern "C" fn length(object: *mut ffi::PyObject) -> ffi::Py_ssize_t {
    // SAFETY: called by the interpreter, attached, with an instance.
    unsafe { SlabObject::from_ptr(object).region(Python::assume_attached()).1 as ffi::Py_ssize_t }
}

unsafe extern "C" fn repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter, attached, with an instance.
    let (py, this) = unsafe { (Python::assume_attached(), SlabObject::from_ptr(object)) };
    let cache = this.cache(py);
    let freed = if this.state.is_freed() { ", freed" } else { "" };
    let (offset, bytes) = this.region(py);
    let shown = if (offset, bytes) == (0, cache.object_size) {
        String::new()
    } else {
        format!(", shows {bytes} from byte {offset} on")
    };
    let text = format!(
        "<haybarn.SlabObject of '{}', {} bytes at {:p}{shown}{freed}>",
        cache.name,
        cache.object_size,
        this.address().as_ptr()
    );
    PyString::new(py, &text).into_ptr()
}
