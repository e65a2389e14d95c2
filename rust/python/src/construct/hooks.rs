//! The core's hooks: each call makes a view of the slot, calls Python, and ends the view.

use std::ptr::NonNull;
use std::sync::Arc;

use haybarn::{CtorError, Hooks};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::reaping;
use crate::attach::attached;
use crate::cache::KmemCache;
use crate::errors::{self, Kind};
use crate::foreign;
use crate::lifetimes::{Lifetimes, inside, later, pins};
use crate::object::{self, View};

/// The hooks of one cache.
pub(crate) struct Calls(pub(crate) Arc<Lifetimes>);

impl Hooks for Calls {
    fn construct(&self, object: NonNull<u8>) -> Result<(), CtorError> {
        let ended = || PyRuntimeError::new_err("the interpreter has ended");
        let done = attached(|py| self.constructed(py, object)).unwrap_or_else(|| Err(ended()));
        done.map_err(|error| CtorError(Box::new(error)))
    }

    fn destruct(&self, object: NonNull<u8>) {
        // Once the interpreter has ended there is nobody to call, and nothing left to drop.
        attached(|py| {
            // A slab may die in the middle of an exception's way up.
            let raised = PyErr::take(py);
            self.destructed(py, object);
            if let Some(raised) = raised {
                raised.restore(py);
            }
        });
    }

    fn symbol(&self) -> String {
        self.0.symbol.clone()
    }

    fn keep_run(&self, base: NonNull<u8>, bytes: usize) -> bool {
        pins::keep_run(base.addr().get(), bytes)
    }

    fn died(&self) {
        self.0.slab_died();
        reaping::slab_died();
    }
}

impl Calls {
    fn constructed(&self, py: Python<'_>, object: NonNull<u8>) -> PyResult<()> {
        let cache = &*self.0;
        let Some(ctor) = cache.ctor() else { return Ok(()) };
        // SAFETY: the core calls once for each object of a new slab, with nobody else there.
        unsafe { cache.payloads.clear(object) };
        let _running = inside::ctor(&cache.identity, &cache.running);
        let payload = self.with_view(py, object, View::for_ctor, |view| foreign::call_with(ctor.bind(py), view));
        let (payload, kept) = match payload? {
            (Ok(payload), 0) => {
                // SAFETY: as above.
                let kept = unsafe { cache.payloads.put(object, &payload) };
                (payload, kept)
            }
            (Ok(payload), exports) => (payload, Err(self.still_used(py, object, exports, "constructor"))),
            (Err(error), _) => return Err(error),
        };
        if kept.is_err() {
            later::forget(payload);
        }
        kept
    }

    fn destructed(&self, py: Python<'_>, object: NonNull<u8>) {
        let cache = &*self.0;
        if let Some(dtor) = cache.dtor().filter(|_| !cache.is_abandoned()) {
            let dtor = dtor.bind(py);
            let _running = inside::dtor(&cache.identity, &cache.running);
            let _watched = object::watch(py);
            let failed = match self.with_view(py, object, View::new, |view| foreign::call_with(dtor, view)) {
                Ok((Ok(_), 0)) => None,
                Ok((Ok(_), exports)) => Some(self.still_used(py, object, exports, "destructor")),
                Ok((Err(error), _)) | Err(error) => Some(error),
            };
            if let Some(error) = failed {
                // Without a cache the function may be in pieces, and is not shown to anybody.
                foreign::unraisable(py, error, cache.owner(py).map(|_| dtor));
            }
        }
        // SAFETY: the core calls once for each object of a dead slab, with nobody else there.
        match cache.ctor().map(|_| unsafe { cache.payloads.take(py, object) }) {
            Some(Ok(Some(payload))) => later::forget(payload),
            Some(Err(error)) => foreign::unraisable(py, error, None),
            Some(Ok(None)) | None => (),
        }
        later::run(py);
    }

    /// Calls with a view of the slot, which is over afterwards: what the call gave, and how many buffers still look in. Those
    /// keep the pages.
    fn with_view<'py, R>(
        &self,
        py: Python<'py>,
        object: NonNull<u8>,
        new: impl FnOnce(&Bound<'py, KmemCache>, NonNull<u8>) -> PyResult<View<'py>>,
        call: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<R>,
    ) -> PyResult<(PyResult<R>, u64)> {
        let gone = || PyRuntimeError::new_err("the cache is gone");
        let owner = self.0.owner(py).ok_or_else(gone)?.cast_into::<KmemCache>()?;
        let view = new(&owner, object)?;
        let result = call(view.as_any());
        Ok((result, view.end()))
    }

    fn still_used(&self, py: Python<'_>, object: NonNull<u8>, exports: u64, what: &str) -> PyErr {
        let name = &self.0.identity.name;
        let text = format!(
            "cache '{name}': object at {object:p} has {exports} live buffer(s) after its {what}: release the memoryviews and \
             arrays before it returns"
        );
        errors::error(py, Kind::ObjectInUse, text)
    }
}
