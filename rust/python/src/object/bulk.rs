//! Many objects in one call: all or none.

use std::ptr::{self, NonNull};

use haybarn::AllocFlags;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use super::hot::of_cache;
use super::layout::SlabObject;
use super::{collected, shells, slots};
use crate::cache::KmemCache;
use crate::errors::{self, Kind};
use crate::gate::Here;
use crate::guarded::Gone;
use crate::state::Refusal;

/// Above this many objects the core works detached from the interpreter: letting go and coming back costs about as much
/// as 64 objects.
pub(super) const DETACH_ABOVE: usize = 512;

/// A list of `n` new objects.
pub(crate) fn alloc_many<'py>(
    cache: &Bound<'py, KmemCache>,
    n: usize,
    flags: AllocFlags,
) -> PyResult<Bound<'py, PyList>> {
    let (py, this) = (cache.py(), cache.get());
    this.check_alloc(py, flags)?;
    // Asking the system for the list would succeed where it overcommits, and the process die of filling it.
    if n.checked_mul(this.slab_size).is_none_or(|bytes| bytes > this.reserved) {
        return Err(this.out_of_memory(py, n));
    }
    let mut addresses: Vec<*mut u8> = Vec::new();
    let mut shells: Vec<Bound<'py, PyAny>> = Vec::new();
    if addresses.try_reserve_exact(n).is_err() || shells.try_reserve_exact(n).is_err() {
        return Err(this.out_of_memory(py, n));
    }
    addresses.resize(n, ptr::null_mut());
    let filled =
        this.guarded.alloc_bulk(py, flags, &mut addresses, DETACH_ABOVE).map_err(|gone| this.gone(py, gone))?;
    filled.map_err(|why| this.no_object(py, n, why))?;
    let collects = collected::is_for(this);
    for (done, &address) in addresses.iter().enumerate() {
        // SAFETY: attached; the address is a live object of this cache and nobody's yet; a new reference to the cache is
        // handed over, and the filled shell is a new reference for us.
        let made = unsafe {
            let memory =
                if collects { collected::set_aside(py) } else { shells::new(&Here::new(), slots::type_object()) };
            memory.map(|memory| {
                let cache = NonNull::new_unchecked(ffi::Py_NewRef(cache.as_ptr()));
                let fill = if collects { collected::fill } else { SlabObject::fill };
                fill(memory, NonNull::new_unchecked(address), cache);
                Bound::from_owned_ptr(py, memory.as_ptr().cast())
            })
        };
        match made {
            Some(object) => shells.push(object),
            None => {
                // SAFETY: these have no wrapper yet; the others go with theirs.
                unsafe { this.guarded.free_bulk(py, &mut addresses[done..], DETACH_ABOVE) };
                return Err(this.no_wrapper(py, n));
            }
        }
    }
    PyList::new(py, shells)
}

/// Frees every object of the sequence, or none: each is claimed first, and the claims are taken back if one fails.
pub(crate) fn free_many(cache: &Bound<'_, KmemCache>, objects: &Bound<'_, PyTuple>) -> PyResult<()> {
    let (py, this) = (cache.py(), cache.get());
    if objects.is_empty() {
        // Objects would keep the cache alive; without any it may be gone.
        return if this.guarded.is_destroyed() { Err(this.gone(py, Gone::Destroyed)) } else { Ok(()) };
    }
    let mut claimed: Vec<&SlabObject> = Vec::new();
    let mut addresses: Vec<*mut u8> = Vec::new();
    if claimed.try_reserve_exact(objects.len()).is_err() || addresses.try_reserve_exact(objects.len()).is_err() {
        return Err(this.out_of_memory(py, 0));
    }
    for at in 0..objects.len() {
        // SAFETY: attached; the cache is a `KmemCache`, and the tuple holds the object for as long as we look at it.
        let step = unsafe { item(objects, at).and_then(|object| of_cache(py, cache.as_ptr(), object)) }
            .and_then(|object| object.state.claim().map(|()| object).map_err(|refusal| why(py, object, refusal, at)));
        match step {
            Ok(object) => {
                claimed.push(object);
                addresses.push(object.address().as_ptr());
            }
            Err(error) => {
                claimed.iter().for_each(|object| object.state.unclaim());
                return Err(error);
            }
        }
    }
    claimed.iter().for_each(|object| object.state.free_claimed());
    // SAFETY: each was claimed by this call alone, so it is live, of this cache, and in the list once.
    unsafe { this.guarded.free_bulk(py, &mut addresses, DETACH_ABOVE) };
    Ok(())
}

/// A tuple that is being made is there for who asks the garbage collector, and what is not in it yet is null.
fn item(objects: &Bound<'_, PyTuple>, at: usize) -> PyResult<*mut ffi::PyObject> {
    // SAFETY: attached, and `at` is below its length.
    let item = unsafe { ffi::PyTuple_GET_ITEM(objects.as_ptr(), at as ffi::Py_ssize_t) };
    if item.is_null() {
        return Err(PyTypeError::new_err(format!(
            "objs must be a sequence of SlabObject, not a tuple without item {at}"
        )));
    }
    Ok(item)
}

#[cold]
fn why(py: Python<'_>, object: &SlabObject, refusal: Refusal, at: usize) -> PyErr {
    if refusal == Refusal::Claimed {
        let (name, address) = (&object.cache(py).name, object.address().as_ptr());
        let text = format!(
            "cache '{name}': object at {address:p} (item {at}) is in the list twice, or another thread is freeing it"
        );
        return errors::error(py, Kind::DoubleFree, text);
    }
    object.refused(py, refusal, true)
}
