//! The wrapper around one slab object, as Python sees it in memory.

use std::cell::UnsafeCell;
use std::ptr::NonNull;

use haybarn::sync::Published;
use pyo3::prelude::*;
use pyo3::{Borrowed, ffi};

use crate::cache::KmemCache;
use crate::errors::{self, Kind};
use crate::state::{Refusal, State};

/// One wrapper. `address` and `cache` do not change from [`SlabObject::fill`] until deallocation; `state` says whether the
/// memory at `address` is still this wrapper's.
#[repr(C)]
pub(super) struct SlabObject {
    /// The interpreter's: it counts references in it while we look at the other fields.
    _head: UnsafeCell<ffi::PyObject>,
    address: NonNull<u8>,
    /// A strong reference to a `KmemCache`.
    cache: NonNull<ffi::PyObject>,
    pub(super) state: State,
    /// The interpreter's list of weak references.
    weakrefs: UnsafeCell<*mut ffi::PyObject>,
}

impl SlabObject {
    /// Where the list of weak references is.
    pub(super) const WEAKREFS_AT: usize = std::mem::offset_of!(SlabObject, weakrefs);

    /// The wrapper that `object` points to.
    ///
    /// # Safety
    /// `object` is an exact instance of the type in `slots`, filled, and referenced for `'a`.
    #[inline]
    pub(super) unsafe fn from_ptr<'a>(object: *mut ffi::PyObject) -> &'a Self {
        // SAFETY: the type's instances have this layout; the caller keeps it alive.
        unsafe { &*object.cast::<Self>() }
    }

    /// Makes a shell with its Python head in place a live object; takes over the reference to `cache`.
    ///
    /// # Safety
    /// `shell` is a fresh instance that nobody else knows; `address` is a live object of `cache`, which is a `KmemCache`.
    #[inline]
    pub(super) unsafe fn fill(shell: NonNull<Self>, address: NonNull<u8>, cache: NonNull<ffi::PyObject>) {
        // SAFETY: the caller's promise.
        unsafe { Self::fill_as(shell, address, cache, State::live()) };
    }

    /// [`SlabObject::fill`], for an object that is not simply live.
    ///
    /// # Safety
    /// As there; `address` may be a slot that the core has given to a callback.
    #[inline]
    pub(super) unsafe fn fill_as(
        shell: NonNull<Self>,
        address: NonNull<u8>,
        cache: NonNull<ffi::PyObject>,
        state: State,
    ) {
        let shell = shell.as_ptr();
        // SAFETY: the shell is this caller's alone and large enough; the fields hold nothing to drop.
        unsafe {
            (&raw mut (*shell).address).write(address);
            (&raw mut (*shell).cache).write(cache);
            (&raw mut (*shell).state).write(state);
            (&raw mut (*shell).weakrefs).write(UnsafeCell::new(std::ptr::null_mut()));
        }
    }

    /// Whether there are weak references to clear. Without the GIL another thread may be taking the last one out of the list just
    /// now; it then clears the word last, under a lock that lies elsewhere.
    ///
    /// # Safety
    /// The last reference is gone.
    #[inline]
    pub(super) unsafe fn has_weakrefs(&self) -> bool {
        // SAFETY: a field of ours, as large and aligned as a word; the interpreter too writes it by atomic stores where there is
        // no GIL. Nobody can add a reference any more.
        unsafe { &*self.weakrefs.get().cast::<Published>() }.read() != 0
    }

    /// The address of the memory, this wrapper's or not.
    #[inline]
    pub(super) fn address(&self) -> NonNull<u8> {
        self.address
    }

    /// The cache as a Python object.
    #[inline]
    pub(super) fn cache_ptr(&self) -> *mut ffi::PyObject {
        self.cache.as_ptr()
    }

    /// The cache.
    #[inline]
    pub(super) fn cache<'a>(&'a self, py: Python<'a>) -> &'a KmemCache {
        // SAFETY: `fill` was promised a `KmemCache`, and the wrapper holds a reference to it.
        unsafe { kmem_cache(py, self.cache.as_ptr()) }
    }

    /// The first byte that its buffer shows, and how many it shows: the cache's region; constructors and destructors see all.
    pub(super) fn region(&self, py: Python<'_>) -> (usize, usize) {
        let cache = self.cache(py);
        if self.state.is_view() { (0, cache.object_size) } else { cache.region() }
    }

    /// The error for a use or a free that the state forbids.
    #[cold]
    pub(super) fn refused(&self, py: Python<'_>, refusal: Refusal, freeing: bool) -> PyErr {
        let (name, address) = (&self.cache(py).name, self.address.as_ptr());
        match refusal {
            Refusal::View => errors::error(
                py,
                Kind::ObjectInUse,
                format!(
                    "cache '{name}': object at {address:p} is in a constructor's or destructor's hands: it is not for them to free"
                ),
            ),
            Refusal::PastView => errors::error(
                py,
                Kind::UseAfterFree,
                format!(
                    "cache '{name}': object at {address:p} was lent to a constructor or destructor: it is valid until that returns"
                ),
            ),
            Refusal::Exported(n) => errors::error(
                py,
                Kind::ObjectInUse,
                format!(
                    "cache '{name}': object at {address:p} has {n} live buffer(s): release the memoryviews and arrays first"
                ),
            ),
            _ if freeing => {
                errors::error(py, Kind::DoubleFree, format!("cache '{name}': object at {address:p} is freed already"))
            }
            _ => errors::error(
                py,
                Kind::UseAfterFree,
                format!("cache '{name}': object at {address:p} has been freed: allocate another one"),
            ),
        }
    }
}

/// The `KmemCache` behind a pointer.
///
/// # Safety
/// `cache` is a `KmemCache`, referenced for `'a`.
#[inline]
pub(super) unsafe fn kmem_cache<'a>(py: Python<'a>, cache: *mut ffi::PyObject) -> &'a KmemCache {
    // SAFETY: the caller's promise; the class is frozen, so a shared reference is always right.
    unsafe { Borrowed::from_ptr(py, cache).cast_unchecked::<KmemCache>() }.get()
}

/// Puts `error` where the interpreter looks for it.
#[cold]
pub(super) fn raise(py: Python<'_>, error: PyErr) {
    error.restore(py);
}
