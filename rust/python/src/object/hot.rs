//! `KmemCache.alloc` and `KmemCache.free` as plain C functions: an ordinary method of a `#[pyclass]` costs about as much
//! as the allocation itself.

use std::cell::UnsafeCell;
use std::ptr::{self, NonNull};

use haybarn::AllocFlags;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::layout::{SlabObject, kmem_cache, raise};
use super::{collected, methods, retire, shells, slots, view};
use crate::args::Args;
use crate::cache::KmemCache;
use crate::errors::{self, Kind};
use crate::gate::Here;

/// The rows of the two methods; the interpreter keeps pointers to them.
struct Rows(UnsafeCell<[ffi::PyMethodDef; 2]>);

// SAFETY: never written.
unsafe impl Sync for Rows {}

static ROWS: Rows = Rows(UnsafeCell::new([
    ffi::PyMethodDef {
        ml_name: c"alloc".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: alloc },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: c"alloc($self, /, *, zero=False, node=None, thisnode=False)\n--\n\nA new object; its bytes are zero if asked, else whatever \
            was there.\n\nnode: a node, 0 to haybarn.info()[\"nodes\"] - 1, whose memory it should be of; None for what this CPU's sheaves have. \
            thisnode: memory of that node (without one, of this CPU's) or none.\n\n\
            Raises OutOfMemoryError (a MemoryError), or CacheDestroyedError once the cache is closed or destroyed."
            .as_ptr(),
    },
    ffi::PyMethodDef {
        ml_name: c"free".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: free },
        ml_flags: ffi::METH_O,
        ml_doc: c"free($self, obj, /)\n--\n\nGives an object of this cache back; the same as obj.free().\n\n\
            Raises WrongCacheError, DoubleFreeError or ObjectInUseError; the object is then as it was."
            .as_ptr(),
    },
]));

/// Adds the methods to the class while it is being built; instances do not exist yet.
pub(crate) fn install(class: &Bound<'_, PyType>) -> PyResult<()> {
    let py = class.py();
    let this = class.as_type_ptr();
    for row in 0..2 {
        // SAFETY: attached; the row is static; the class is a live type whose dictionary is complete; a new name in it is
        // announced by `PyType_Modified`.
        unsafe {
            let row = ROWS.0.get().cast::<ffi::PyMethodDef>().add(row);
            let method = Bound::from_owned_ptr_or_err(py, ffi::PyDescr_NewMethod(this, row))?;
            if ffi::PyDict_SetItemString((*this).tp_dict, (*row).ml_name, method.as_ptr()) != 0 {
                return Err(PyErr::fetch(py));
            }
            ffi::PyType_Modified(this);
        }
    }
    Ok(())
}

unsafe extern "C" fn alloc(
    cache: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    positional: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter, attached, with a `KmemCache` (the method descriptor checks it).
    let py = unsafe { Python::assume_attached() };
    if positional != 0 || !names.is_null() {
        // SAFETY: the interpreter's promise about the arguments of a fast call.
        return unsafe { alloc_asked(py, cache, arguments, positional, names) };
    }
    // SAFETY: as above.
    unsafe { alloc_with(py, cache, AllocFlags::empty(), None) }
}

/// With arguments: the function without any is shorter for it.
///
/// # Safety
/// Attached; `cache` is a `KmemCache`, the others are the arguments of a `METH_FASTCALL | METH_KEYWORDS` function.
#[cold]
#[inline(never)]
unsafe fn alloc_asked(
    py: Python<'_>,
    cache: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    positional: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the caller's promise.
    match unsafe { asked(py, kmem_cache(py, cache), arguments, positional, names) } {
        // SAFETY: as above.
        Ok((flags, node)) => unsafe { alloc_with(py, cache, flags, node) },
        Err(error) => {
            raise(py, error);
            ptr::null_mut()
        }
    }
}

/// # Safety
/// Attached; `cache` is a `KmemCache`.
#[inline(always)]
unsafe fn alloc_with(
    py: Python<'_>,
    cache: *mut ffi::PyObject,
    flags: AllocFlags,
    node: Option<u32>,
) -> *mut ffi::PyObject {
    // SAFETY: the caller's promise.
    let this = unsafe { kmem_cache(py, cache) };
    let here = Here::new();
    // SAFETY: attached, and the type is ready since the module is.
    let Some(shell) = (unsafe { shells::new(&here, slots::type_object()) }) else {
        raise(py, this.no_wrapper(py, 1));
        return ptr::null_mut();
    };
    // Who names a node goes the long way.
    let found = if node.is_none() { this.guarded.alloc(&here, flags) } else { Err(()) };
    let address = match found {
        Ok(Some(address)) => address,
        // SAFETY: attached; the shell is ours.
        failed => return unsafe { alloc_again(py, cache, flags, node, shell, failed) },
    };
    // SAFETY: the shell is fresh; the address is a live object of the cache, to which a new reference is handed over.
    unsafe {
        SlabObject::fill(shell, address, NonNull::new_unchecked(ffi::Py_NewRef(cache)));
    }
    shell.as_ptr().cast()
}

/// The first try met a gate with a flag up, or no memory: waits and tries again, or raises and retires the shell. Of a cache with
/// callbacks every call comes here, and its objects need a shell of their own.
///
/// # Safety
/// Attached; `cache` is a `KmemCache`; the shell is from `shells::new` and not filled.
#[cold]
unsafe fn alloc_again(
    py: Python<'_>,
    cache: *mut ffi::PyObject,
    flags: AllocFlags,
    node: Option<u32>,
    shell: NonNull<SlabObject>,
    failed: Result<Option<NonNull<u8>>, ()>,
) -> *mut ffi::PyObject {
    // SAFETY: the caller's promise.
    let this = unsafe { kmem_cache(py, cache) };
    let made = if collected::is_for(this) {
        // SAFETY: the caller's promise; nobody has seen the shell.
        unsafe {
            shells::retire(&Here::new(), shell);
            alloc_collected(py, cache, flags, node)
        }
    } else {
        let again = match failed {
            Ok(_none) => Err(this.out_of_memory(py, 1)),
            Err(()) => this.alloc_gated(py, flags, node),
        };
        // SAFETY: the shell is fresh; the address is a live object of the cache, to which a new reference is handed over; without
        // one nobody has seen the shell.
        unsafe {
            match again {
                Ok(address) => {
                    SlabObject::fill(shell, address, NonNull::new_unchecked(ffi::Py_NewRef(cache)));
                    Ok(shell)
                }
                Err(error) => {
                    shells::retire(&Here::new(), shell);
                    Err(error)
                }
            }
        }
    };
    match made {
        Ok(object) => object.as_ptr().cast(),
        Err(error) => {
            raise(py, error);
            ptr::null_mut()
        }
    }
}

/// An object of a cache with callbacks.
///
/// # Safety
/// Attached; `cache` is a `KmemCache` with callbacks.
unsafe fn alloc_collected(
    py: Python<'_>,
    cache: *mut ffi::PyObject,
    flags: AllocFlags,
    node: Option<u32>,
) -> PyResult<NonNull<SlabObject>> {
    // SAFETY: the caller's promise.
    let this = unsafe { kmem_cache(py, cache) };
    this.check_alloc(py, flags)?;
    // SAFETY: attached; the memory is ours alone; the address is a live object of the cache, to which a new reference is handed
    // over.
    unsafe {
        let memory = collected::set_aside(py).ok_or_else(|| this.no_wrapper(py, 1))?;
        match this.alloc_gated(py, flags, node) {
            Ok(address) => {
                collected::fill(memory, address, NonNull::new_unchecked(ffi::Py_NewRef(cache)));
                Ok(memory)
            }
            Err(error) => {
                collected::put_back(memory);
                Err(error)
            }
        }
    }
}

/// `zero=`, `node=` and `thisnode=` by keyword, nothing else.
///
/// # Safety
/// The arguments of a `METH_FASTCALL | METH_KEYWORDS` function.
#[cold]
unsafe fn asked(
    py: Python<'_>,
    this: &KmemCache,
    arguments: *const *mut ffi::PyObject,
    positional: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> PyResult<(AllocFlags, Option<u32>)> {
    if positional != 0 {
        return Err(PyTypeError::new_err(format!("alloc() takes no positional arguments ({positional} given)")));
    }
    let (mut flags, mut node) = (AllocFlags::empty(), None);
    // SAFETY: `names` is a tuple of strings, with one value each in `arguments`.
    let (names, n) = unsafe {
        let names = Bound::from_borrowed_ptr(py, names).cast_into_unchecked::<pyo3::types::PyTuple>();
        let n = names.len();
        (names, n)
    };
    for at in 0..n {
        let name = names.get_item(at)?;
        // SAFETY: as above.
        let value = unsafe { Bound::from_borrowed_ptr(py, *arguments.add(at)) };
        let truth = |name| {
            let wrong =
                |_| PyTypeError::new_err(format!("alloc(): {name} must be a bool, not '{}'", type_name(&value)));
            value.extract::<bool>().map_err(wrong)
        };
        match name.extract::<&str>()? {
            "zero" => flags.set(AllocFlags::ZERO, truth("zero")?),
            "thisnode" => flags.set(AllocFlags::THISNODE, truth("thisnode")?),
            "node" if value.is_none() => {}
            "node" => node = Some(Args { py, cache: &this.name }.node(&value, this.nodes(py)?)?),
            _ => return Err(PyTypeError::new_err(format!("alloc() got an unexpected keyword argument '{name}'"))),
        }
    }
    Ok((flags, node))
}

fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "?".into(), |name| name.to_string())
}

unsafe extern "C" fn free(cache: *mut ffi::PyObject, object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter, attached, with a `KmemCache` and any object.
    let (py, this) = unsafe { (Python::assume_attached(), kmem_cache(Python::assume_attached(), cache)) };
    // SAFETY: attached, `object` is referenced by the caller.
    let error = match unsafe { of_cache(py, cache, object) } {
        Ok(object) => match object.state.free() {
            Ok(()) => {
                // SAFETY: the state has just gone from live to freed, which happens once; the object is of this cache.
                unsafe {
                    this.guarded.free(py, &Here::new(), object.address());
                    return methods::none();
                }
            }
            Err(refusal) => object.refused(py, refusal, true),
        },
        Err(error) => error,
    };
    raise(py, error);
    ptr::null_mut()
}

/// `object` as a wrapper of that cache.
///
/// # Safety
/// `cache` is a `KmemCache`; both are referenced for `'a`.
#[inline]
pub(super) unsafe fn of_cache<'a>(
    py: Python<'a>,
    cache: *mut ffi::PyObject,
    object: *mut ffi::PyObject,
) -> PyResult<&'a SlabObject> {
    // SAFETY: both are live objects.
    unsafe {
        if ffi::Py_TYPE(object) != slots::type_object() && !view::is_view(object) && !collected::is_collected(object) {
            let given = type_name(&Bound::from_borrowed_ptr(py, object));
            let name = &kmem_cache(py, cache).name;
            return Err(PyTypeError::new_err(format!("cache '{name}': only a SlabObject can be freed, not '{given}'")));
        }
        let object = SlabObject::from_ptr(object);
        if object.cache_ptr() != cache { Err(wrong_cache(py, cache, object)) } else { Ok(object) }
    }
}

#[cold]
unsafe fn wrong_cache(py: Python<'_>, cache: *mut ffi::PyObject, object: &SlabObject) -> PyErr {
    // SAFETY: the caller's promise.
    let name = unsafe { &kmem_cache(py, cache).name };
    let (owner, address) = (&object.cache(py).name, object.address().as_ptr());
    let text = format!("cache '{name}' does not own the object at {address:p}: it belongs to cache '{owner}'");
    errors::error(py, Kind::WrongCache, text)
}

/// `KmemCache.free_rcu`, which is not as hot as to be a C function.
pub(crate) fn free_rcu_of(cache: &Bound<'_, KmemCache>, object: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = cache.py();
    // SAFETY: attached; the cache is a `KmemCache`, and the caller holds both.
    let object = unsafe { of_cache(py, cache.as_ptr(), object.as_ptr())? };
    retire::free_rcu(py, object)
}
