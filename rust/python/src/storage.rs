//! `CacheStorage`, storage for a cache that is made before the cache, and what a cache keeps for its owner.
#![forbid(unsafe_code)]

use std::any::Any;
use std::sync::Arc;

use haybarn::{CacheName, CacheStorage as Core};
use pyo3::prelude::*;

use crate::attach;
use crate::errors;
use crate::lifetimes::dropped::{self, Reference};
use crate::lifetimes::{later, soon};

/// Storage for a cache: `KmemCache(name, size, storage=storage)` makes the cache in it, and keeps it.
///
/// It holds one cache at a time. While that is not destroyed, making another one in it raises AlreadySetUpError; while
/// somebody still reads attributes of one that was (an open file of `haybarn.sysfs`, say), StorageInUseError. A creation that
/// fails leaves it free. Thread-safe. Source: `struct kmem_cache_opaque` of the series on static kmem_cache instances (2026).
#[pyclass(frozen, weakref, immutable_type, module = "haybarn")]
pub(crate) struct CacheStorage {
    pub(crate) core: Arc<Core>,
}

#[pymethods]
impl CacheStorage {
    #[new]
    fn new() -> Self {
        Self { core: Arc::new(Core::new()) }
    }

    /// Bytes that it takes.
    #[classattr]
    #[pyo3(name = "SIZE")]
    fn size() -> usize {
        Core::SIZE
    }

    /// Its address is a multiple of this many bytes.
    #[classattr]
    #[pyo3(name = "ALIGN")]
    fn align() -> usize {
        Core::ALIGN
    }

    /// The address: of the same storage always the same.
    #[getter]
    fn address(&self) -> usize {
        (&raw const *self.core).addr()
    }

    /// Whether a cache is in it, or was and is still being read. Thread-safe; a moment later it may be otherwise.
    #[getter]
    fn in_use(&self) -> bool {
        !self.core.is_free()
    }

    /// The name of the cache that is in it, or None. Thread-safe.
    #[getter]
    fn cache_name(&self) -> Option<String> {
        self.core.name().map(|name| name.name().to_owned())
    }

    fn __repr__(&self) -> String {
        match self.cache_name() {
            Some(name) => format!("<haybarn.CacheStorage of '{name}'>"),
            None if self.in_use() => "<haybarn.CacheStorage, being read>".to_owned(),
            None => "<haybarn.CacheStorage, free>".to_owned(),
        }
    }
}

impl CacheStorage {
    /// The storage of a call's argument.
    pub(crate) fn argument<'py>(
        cache: &str,
        given: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, CacheStorage>>> {
        let Some(given) = given else { return Ok(None) };
        let storage =
            given.cast::<Self>().map_err(|_| errors::wrong_type(cache, "storage", "a CacheStorage or None", given))?;
        Ok(Some(storage.clone()))
    }
}

/// The owner of a cache. What comes with its end runs outside of every call, and takes no more stack in a chain of owners.
struct Owner(Option<Reference>);

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some(reference) = self.0.take() {
            dropped::push(reference);
        }
        // In a forked child our hook does it, if it has not been run.
        let run = |py: Python<'_>| {
            if later::is_prepared() {
                later::run(py)
            }
        };
        if attach::if_attached(run).is_none() {
            soon::ask();
        }
    }
}

/// The owner as the core keeps it, and lets go of on any thread.
pub(crate) fn keep(owner: Bound<'_, PyAny>) -> Arc<dyn Any + Send + Sync> {
    Arc::new(Owner(Some(Reference::new(owner))))
}

/// The owner that a name keeps, as long as it is not destroyed.
pub(crate) fn owner_of<'py>(py: Python<'py>, name: &CacheName) -> Option<Bound<'py, PyAny>> {
    name.owner()?.downcast_ref::<Owner>()?.0.as_ref().map(|owner| owner.get(py))
}
