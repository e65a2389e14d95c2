//! What a constructor or destructor gets to see: a `SlabObject` over a slot that nobody has. It is over when the callback
//! returns. A type of its own below `SlabObject`, because the payload that a constructor makes of it may refer back to the
//! cache, and the garbage collector has to see that; handed-out objects are not made to pay for it.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::ptr::NonNull;

use haybarn::fault::{Point, request};
use pyo3::ffi;
use pyo3::prelude::*;

use super::layout::SlabObject;
use super::slots::{self, Table};
use crate::cache::KmemCache;
use crate::lifetimes::pins;
use crate::state::State;

const DOC: &std::ffi::CStr =
    c"A slot of a KmemCache, as its constructor or destructor sees it: a SlabObject that is valid during the call.";

static TYPE: Table<ffi::PyTypeObject> = Table(UnsafeCell::new(plain()));
static BUFFER: Table<ffi::PyBufferProcs> = Table(UnsafeCell::new(ffi::PyBufferProcs {
    bf_getbuffer: Some(slots::getbuffer),
    bf_releasebuffer: Some(releasebuffer),
}));

const fn plain() -> ffi::PyTypeObject {
    // SAFETY: the C API defines an all-zero type object as the starting point of a static type.
    let mut plain: ffi::PyTypeObject = unsafe { std::mem::zeroed() };
    plain.ob_base = ffi::PyVarObject { ob_base: ffi::PyObject_HEAD_INIT, ob_size: 0 };
    plain.tp_name = c"haybarn.SlotView".as_ptr();
    plain.tp_basicsize = size_of::<SlabObject>() as ffi::Py_ssize_t;
    plain.tp_dealloc = Some(dealloc);
    plain.tp_traverse = Some(traverse);
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
            (*this).tp_as_buffer = BUFFER.0.get();
            slots::set_flags(this, ffi::Py_TPFLAGS_HAVE_GC);
            if ffi::PyType_Ready(this) != 0 {
                return Err(PyErr::fetch(py));
            }
        }
    }
    Ok(())
}

/// Whether the object is a view.
///
/// # Safety
/// `object` is a live Python object.
pub(super) unsafe fn is_view(object: *mut ffi::PyObject) -> bool {
    // SAFETY: the caller's promise.
    unsafe { ffi::Py_TYPE(object) == TYPE.0.get() }
}

/// A view that is not over.
pub(crate) struct View<'py>(Bound<'py, PyAny>);

impl<'py> View<'py> {
    /// A view of a slot of this cache for its constructor, which may be told to fail as any wrapper.
    pub(crate) fn for_ctor(cache: &Bound<'py, KmemCache>, slot: NonNull<u8>) -> PyResult<Self> {
        if request(Point::Wrapper, size_of::<SlabObject>()) {
            Self::new(cache, slot)
        } else {
            Err(cache.get().out_of_memory(cache.py(), 1))
        }
    }

    /// A view of a slot of this cache, which its core has given to a callback.
    pub(crate) fn new(cache: &Bound<'py, KmemCache>, slot: NonNull<u8>) -> PyResult<Self> {
        let py = cache.py();
        // SAFETY: attached; the type is ready since the module is; the memory is an instance of ours alone until it is tracked.
        unsafe {
            let Some(shell) = NonNull::new(ffi::PyObject_GC_New::<SlabObject>(TYPE.0.get())) else {
                return Err(PyErr::fetch(py));
            };
            let cache = NonNull::new_unchecked(ffi::Py_NewRef(cache.as_ptr()));
            SlabObject::fill_as(shell, slot, cache, State::view());
            ffi::PyObject_GC_Track(shell.as_ptr().cast());
            Ok(Self(Bound::from_owned_ptr(py, shell.as_ptr().cast())))
        }
    }

    pub(crate) fn as_any(&self) -> &Bound<'py, PyAny> {
        &self.0
    }

    /// Ends the view. How many buffers look into the slot still: they keep its pages.
    pub(crate) fn end(self) -> u64 {
        // SAFETY: an instance, held by `self`.
        let this = unsafe { SlabObject::from_ptr(self.0.as_ptr()) };
        let slot = this.address().addr().get();
        let mut pinned = false;
        let exports = this.state.end_view(|| {
            if !std::mem::replace(&mut pinned, true) {
                pins::pin(slot);
            }
        });
        if pinned && exports == 0 {
            pins::unpin(slot);
        }
        exports
    }
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: called by the interpreter, attached, with an instance whose last reference is gone. The slot is not the view's.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        let this = SlabObject::from_ptr(object);
        if this.has_weakrefs() {
            ffi::PyObject_ClearWeakRefs(object);
        }
        let cache = this.cache_ptr();
        ffi::PyObject_GC_Del(object.cast());
        ffi::Py_DECREF(cache);
    }
}

unsafe extern "C" fn traverse(object: *mut ffi::PyObject, visit: ffi::visitproc, argument: *mut c_void) -> c_int {
    // SAFETY: called by the garbage collector with a tracked instance.
    unsafe { visit(SlabObject::from_ptr(object).cache_ptr(), argument) }
}

/// With the last buffer of a view that is over, the pages below may go.
unsafe extern "C" fn releasebuffer(object: *mut ffi::PyObject, _view: *mut ffi::Py_buffer) {
    // SAFETY: called by the interpreter once for each view that `getbuffer` filled in.
    let this = unsafe { SlabObject::from_ptr(object) };
    if this.state.unexport_view() {
        pins::unpin(this.address().addr().get());
    }
}
