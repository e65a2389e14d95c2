//! A cache that waits for its end in the queue, which has a reference to it.
#![forbid(unsafe_code)]

use pyo3::prelude::*;

use crate::cache::KmemCache;

/// A cache that waits for its end. Where nobody else refers to it, this does.
pub(crate) struct Kept {
    cache: Py<KmemCache>,
    /// Its finalizer has been called, and never is again.
    was_garbage: bool,
}

impl Kept {
    pub(crate) fn new(cache: Bound<'_, KmemCache>, was_garbage: bool) -> Self {
        Self { cache: cache.unbind(), was_garbage }
    }

    /// See [`KmemCache::finish`].
    pub(super) fn finish(&self, py: Python<'_>) -> PyResult<bool> {
        self.cache.get().finish(py)
    }

    /// As Python's object.
    pub(super) fn object(&self, py: Python<'_>) -> Py<PyAny> {
        self.cache.clone_ref(py).into_any()
    }
}

impl Drop for Kept {
    /// As long as it was kept it was whole. If it has not ended, it may be garbage again from here on, and nothing will say so.
    fn drop(&mut self) {
        if self.was_garbage {
            self.cache.get().guarded.lifetimes().inspect(|lifetimes| lifetimes.outlived());
        }
    }
}
