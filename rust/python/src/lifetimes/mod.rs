//! What a cache with a constructor or destructor keeps, and what its threads have to know.
//!
//! | file | holds |
//! |---|---|
//! | `payloads` | the payloads of a cache, one reference each |
//! | `inside` | what this thread is inside of, and what must not happen there |
//! | `later` | what is put off until it is outside |
//! | `dropped` | references that were let go of where Python code must not run |
//! | `soon` | asking the interpreter for a moment outside |
//! | `pins` | views that are still looked into when their callback has returned |

pub(crate) mod dropped;
pub(crate) mod inside;
pub(crate) mod later;
mod payloads;
pub(crate) mod pins;
pub(crate) mod soon;

use std::ptr::NonNull;
use std::sync::Arc;

use haybarn::sync::Published;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

pub(crate) use inside::Identity;
use payloads::Payloads;

/// Module and name of a callable in one line, or its type's name where it has none.
fn name_of(callable: &Bound<'_, PyAny>) -> String {
    let text = |of: &Bound<'_, PyAny>, attribute| of.getattr(attribute).and_then(|name| name.extract::<String>());
    let named =
        |of: &Bound<'_, PyAny>| Ok::<_, PyErr>(format!("{}.{}", text(of, "__module__")?, text(of, "__qualname__")?));
    let name = named(callable).or_else(|_| named(&callable.get_type())).unwrap_or_else(|_| "?".to_owned());
    name.replace(char::is_control, "?")
}

/// The constructor, the destructor and the payloads of one cache.
pub(crate) struct Lifetimes {
    pub(crate) identity: Arc<Identity>,
    ctor: Option<Py<PyAny>>,
    dtor: Option<Py<PyAny>>,
    /// What the attribute `ctor` shows.
    pub(crate) symbol: String,
    pub(crate) payloads: Payloads,
    /// Address of the cache's Python object, borrowed: it destroys the core cache before it goes, and nothing calls the hooks
    /// afterwards. 0 before it is made, when no slab is there yet.
    owner: Published,
    /// Callbacks that run, on all threads.
    pub(crate) running: Published,
    /// 1 when slabs have died since somebody looked.
    dead: Published,
    /// 1 once the cache was garbage, did not end then, and may be garbage again.
    outlived: Published,
    /// 1 once its destructor may have been taken apart by the garbage collector.
    abandoned: Published,
}

impl Lifetimes {
    /// Bytes that each slot gets behind its object.
    pub(crate) const PRIVATE_BYTES: usize = size_of::<u64>();

    /// For a cache of objects of `object_size` bytes; both callbacks are callable.
    pub(crate) fn new(
        py: Python<'_>,
        identity: Identity,
        object_size: usize,
        ctor: Option<Bound<'_, PyAny>>,
        dtor: Option<Bound<'_, PyAny>>,
    ) -> Self {
        Self {
            identity: Arc::new(identity),
            symbol: ctor.as_ref().map_or_else(String::new, name_of),
            payloads: Payloads::new(py, object_size),
            ctor: ctor.map(Bound::unbind),
            dtor: dtor.map(Bound::unbind),
            owner: Published::new(0),
            running: Published::new(0),
            dead: Published::new(0),
            outlived: Published::new(0),
            abandoned: Published::new(0),
        }
    }

    /// Says which Python object the cache is.
    pub(crate) fn belongs_to(&self, cache: &Bound<'_, PyAny>) {
        self.owner.publish(cache.as_ptr().expose_provenance() as u64);
    }

    /// There is no Python object any more.
    pub(crate) fn belongs_to_nobody(&self) {
        self.owner.publish(0);
    }

    /// The cache as Python's object; `None` before it is made and when it is gone.
    pub(crate) fn owner<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let owner = std::ptr::with_exposed_provenance_mut(self.owner.read() as usize);
        // SAFETY: the cache outlives its core cache, in whose calls this is asked, and frees of its objects, each of which
        // holds a reference.
        unsafe { Bound::from_borrowed_ptr_or_opt(py, owner) }
    }

    /// The constructor.
    pub(crate) fn ctor(&self) -> Option<&Py<PyAny>> {
        self.ctor.as_ref()
    }

    /// The destructor.
    pub(crate) fn dtor(&self) -> Option<&Py<PyAny>> {
        self.dtor.as_ref()
    }

    /// Whether objects must keep what a constructor wrote.
    pub(crate) fn constructs(&self) -> bool {
        self.ctor.is_some()
    }

    /// Some slab waits for its destructors.
    pub(crate) fn slab_died(&self) {
        self.dead.publish(1);
    }

    /// Whether some slab waits for its destructors; the caller runs them.
    pub(crate) fn may_reap(&self) -> bool {
        self.dead.read() != 0 && self.dead.publish_if(1, 0).is_ok()
    }

    /// The cache was seen to be garbage by its finalizer, which is called once, and has not ended. If it is garbage now, so are its
    /// live objects: each is about to be freed by its finalizer, or has had it.
    pub(crate) fn outlived(&self) {
        self.outlived.publish(1);
    }

    /// An object is freed although its finalizer could not. If the cache too was garbage, its destructor may be in pieces by now, and
    /// is not called any more. True for the first who says so.
    pub(crate) fn abandon(&self) -> bool {
        self.dtor.is_some() && self.outlived.read() != 0 && self.abandoned.publish_if(0, 1).is_ok()
    }

    /// Whether its destructor is not called any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.read() != 0
    }

    /// Whether a callback runs, on whatever thread.
    pub(crate) fn is_running(&self) -> bool {
        self.running.read() != 0
    }

    /// The payload of a slot; `None` where there is none.
    ///
    /// # Safety
    /// `object` is, or was, an object of this cache: without the GIL another thread may be freeing it, and what comes out
    /// means something only if it is live afterwards.
    pub(crate) unsafe fn payload<'py>(
        &self,
        py: Python<'py>,
        object: NonNull<u8>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        if self.ctor.is_none() {
            return Ok(None);
        }
        // SAFETY: a cache with a constructor has the word behind each object; the caller's promise.
        unsafe { self.payloads.get(py, object) }
    }

    /// In the child of a fork: only this thread's callbacks run.
    pub(crate) fn reset_after_fork(&self, py: Python<'_>) {
        self.running.publish(inside::callbacks(&self.identity));
        // SAFETY: a fork leaves one thread, and came from no call of the payloads'.
        unsafe { self.payloads.reset_after_fork(py) };
    }

    /// What the cache refers to, for the garbage collector.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.ctor)?;
        visit.call(&self.dtor)?;
        self.payloads.traverse(visit)
    }
}
