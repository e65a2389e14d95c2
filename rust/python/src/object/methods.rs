//! Methods and attributes of `SlabObject`.

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_char, c_void};

use pyo3::ffi;
use pyo3::prelude::*;

use super::layout::{SlabObject, raise};
use super::retire;
use crate::errors;
use crate::gate::Here;

/// A table that the interpreter reads; its rows hold pointers to constants.
struct Table<T>(UnsafeCell<T>);

// SAFETY: never written.
unsafe impl<T> Sync for Table<T> {}

static METHODS: Table<[ffi::PyMethodDef; 6]> = Table(UnsafeCell::new([
    no_arguments(
        c"free",
        free,
        c"free($self, /)\n--\n\nGives the memory back to the cache.\n\n\
        Raises DoubleFreeError if that has happened already, ObjectInUseError while memoryviews of it are live.",
    ),
    no_arguments(
        c"free_rcu",
        free_rcu,
        c"free_rcu($self, /)\n--\n\nGives the memory back to the cache after a grace period of haybarn.rcu.\n\n\
        From now on it counts as freed: no new views, no second free. Views that are there stay valid; the memory is reused once \
        they are gone and every read section open now has been left. Raises DoubleFreeError; ReadSectionError where there is no \
        memory to remember the object by and the caller is inside a read section (the object is then as it was). Thread-safe. \
        As the kernel's kfree_rcu().",
    ),
    no_arguments(
        c"__enter__",
        enter,
        c"__enter__($self, /)\n--\n\nThe object itself; UseAfterFreeError if it has been freed.",
    ),
    many_arguments(c"__exit__", exit, c"__exit__($self, /, *exc_info)\n--\n\nFrees the object unless the body has."),
    no_arguments(
        c"__sizeof__",
        sizeof,
        c"__sizeof__($self, /)\n--\n\nBytes of the wrapper and of the slab memory behind it.",
    ),
    ffi::PyMethodDef::zeroed(),
]));

static ATTRIBUTES: Table<[ffi::PyGetSetDef; 7]> = Table(UnsafeCell::new([
    attribute(c"address", address, c"Where the memory is, its first byte shown or not (UseAfterFreeError once freed)."),
    attribute(c"nbytes", nbytes, c"Bytes of the buffer: the cache's usersize, or its object_size."),
    attribute(c"node", node, c"The node whose memory it is (UseAfterFreeError once freed)."),
    attribute(c"cache", cache, c"The KmemCache that the object comes from."),
    attribute(
        c"payload",
        payload,
        c"What the cache's constructor returned for this slot; None without one (UseAfterFreeError once freed).",
    ),
    attribute(c"freed", freed, c"Whether the memory has gone back to the cache."),
    END,
]));

const END: ffi::PyGetSetDef = ffi::PyGetSetDef {
    name: std::ptr::null(),
    get: None,
    set: None,
    doc: std::ptr::null(),
    closure: std::ptr::null_mut(),
};

/// The table for `tp_methods`.
pub(super) fn methods() -> *mut ffi::PyMethodDef {
    METHODS.0.get().cast()
}

/// The table for `tp_getset`.
pub(super) fn attributes() -> *mut ffi::PyGetSetDef {
    ATTRIBUTES.0.get().cast()
}

const fn no_arguments(name: &'static CStr, call: ffi::PyCFunction, doc: &'static CStr) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: call },
        ml_flags: ffi::METH_NOARGS,
        ml_doc: doc.as_ptr(),
    }
}

const fn many_arguments(name: &'static CStr, call: ffi::PyCFunctionFast, doc: &'static CStr) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFast: call },
        ml_flags: ffi::METH_FASTCALL,
        ml_doc: doc.as_ptr(),
    }
}

const fn attribute(name: &'static CStr, get: ffi::getter, doc: &'static CStr) -> ffi::PyGetSetDef {
    ffi::PyGetSetDef {
        name: name.as_ptr().cast::<c_char>(),
        get: Some(get),
        set: None,
        doc: doc.as_ptr().cast::<c_char>(),
        closure: std::ptr::null_mut(),
    }
}

#[inline]
pub(super) fn none() -> *mut ffi::PyObject {
    // SAFETY: `None` is there as long as the interpreter is, which has called us.
    let none = unsafe { ffi::Py_None() };
    // From 3.12 on it is immortal: nobody counts references to it.
    // SAFETY: as above.
    #[cfg(not(Py_3_12))]
    unsafe {
        ffi::Py_INCREF(none);
    }
    none
}

unsafe extern "C" fn free(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter, attached, with an instance.
    let (py, this) = unsafe { (Python::assume_attached(), SlabObject::from_ptr(object)) };
    // A count of one does not say that nobody else can come here: `f = obj.free` lends its one reference to every thread that calls f.
    match this.state.free() {
        Ok(()) => {
            // SAFETY: the state has just gone from live to freed, which happens once.
            unsafe { this.cache(py).guarded.free(py, &Here::new(), this.address()) };
            none()
        }
        Err(refusal) => {
            raise(py, this.refused(py, refusal, true));
            std::ptr::null_mut()
        }
    }
}

unsafe extern "C" fn free_rcu(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter, attached, with an instance.
    let (py, this) = unsafe { (Python::assume_attached(), SlabObject::from_ptr(object)) };
    match retire::free_rcu(py, this) {
        Ok(()) => none(),
        Err(error) => {
            raise(py, error);
            std::ptr::null_mut()
        }
    }
}

unsafe extern "C" fn enter(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter, attached, with an instance.
    let (py, this) = unsafe { (Python::assume_attached(), SlabObject::from_ptr(object)) };
    if let Err(refusal) = this.state.usable() {
        raise(py, this.refused(py, refusal, false));
        return std::ptr::null_mut();
    }
    // SAFETY: the caller holds a reference.
    unsafe { ffi::Py_NewRef(object) }
}

unsafe extern "C" fn exit(
    object: *mut ffi::PyObject,
    _: *mut *mut ffi::PyObject,
    _: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter, attached, with an instance.
    let this = unsafe { SlabObject::from_ptr(object) };
    if this.state.is_freed() {
        return none();
    }
    // SAFETY: as this function was.
    unsafe { free(object, std::ptr::null_mut()) }
}

unsafe extern "C" fn sizeof(object: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter, attached, with an instance.
    let (py, this) = unsafe { (Python::assume_attached(), SlabObject::from_ptr(object)) };
    let behind = if this.state.is_freed() { 0 } else { this.cache(py).slab_size };
    // SAFETY: attached.
    unsafe { ffi::PyLong_FromSize_t(size_of::<SlabObject>() + behind) }
}

unsafe extern "C" fn address(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter, attached, with an instance.
    let (py, this) = unsafe { (Python::assume_attached(), SlabObject::from_ptr(object)) };
    if let Err(refusal) = this.state.usable() {
        raise(py, this.refused(py, refusal, false));
        return std::ptr::null_mut();
    }
    // SAFETY: attached.
    unsafe { ffi::PyLong_FromSize_t(this.address().as_ptr() as usize) }
}

unsafe extern "C" fn node(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter, attached, with an instance.
    let (py, this) = unsafe { (Python::assume_attached(), SlabObject::from_ptr(object)) };
    let usable = this.state.usable().map_err(|refusal| this.refused(py, refusal, false));
    let found = usable.and_then(|()| {
        let node = this.cache(py).inside(py, |raw| raw.node_of(this.address().as_ptr()))?;
        node.map_err(|error| errors::from_core(py, error))
    });
    match found {
        // SAFETY: attached.
        Ok(node) => unsafe { ffi::PyLong_FromSize_t(node as usize) },
        Err(error) => {
            raise(py, error);
            std::ptr::null_mut()
        }
    }
}

unsafe extern "C" fn nbytes(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter, attached, with an instance.
    unsafe { ffi::PyLong_FromSize_t(SlabObject::from_ptr(object).region(Python::assume_attached()).1) }
}

unsafe extern "C" fn cache(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter, attached, with an instance, which holds a reference to its cache.
    unsafe { ffi::Py_NewRef(SlabObject::from_ptr(object).cache_ptr()) }
}

unsafe extern "C" fn payload(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter, attached, with an instance.
    let (py, this) = unsafe { (Python::assume_attached(), SlabObject::from_ptr(object)) };
    let found = this.state.usable().and_then(|()| {
        let lifetimes = this.cache(py).guarded.lifetimes();
        // SAFETY: an object of this cache.
        let found = lifetimes.map_or(Ok(None), |lifetimes| unsafe { lifetimes.payload(py, this.address()) });
        // Live all the while: nobody else had the slot.
        this.state.usable().map(|()| found)
    });
    match found.unwrap_or_else(|refusal| Err(this.refused(py, refusal, false))) {
        Ok(Some(payload)) => payload.into_ptr(),
        Ok(None) => none(),
        Err(error) => {
            raise(py, error);
            std::ptr::null_mut()
        }
    }
}

unsafe extern "C" fn freed(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter, attached, with an instance.
    unsafe { ffi::PyBool_FromLong(SlabObject::from_ptr(object).state.is_freed().into()) }
}
