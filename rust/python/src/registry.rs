//! The caches that Python made, by number of creation, weakly held.
#![forbid(unsafe_code)]

use haybarn::sync::Published;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyWeakrefMethods, PyWeakrefReference};

use crate::cache::KmemCache;

/// A Python dict, because the interpreter keeps those whole across threads and `fork`.
static CACHES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
static SERIALS: PyOnceLock<Published> = PyOnceLock::new();

fn table(py: Python<'_>) -> &Bound<'_, PyDict> {
    CACHES.get_or_init(py, || PyDict::new(py).unbind()).bind(py)
}

/// A number that no other cache has.
pub(crate) fn next_serial(py: Python<'_>) -> u64 {
    SERIALS.get_or_init(py, || Published::new(0)).take(1)
}

/// Remembers a new cache, and forgets those that are gone.
pub(crate) fn add(cache: &Bound<'_, KmemCache>) -> PyResult<()> {
    let py = cache.py();
    let table = table(py);
    table.set_item(cache.get().serial, PyWeakrefReference::new(cache.as_any())?)?;
    // As many look-ups as there are entries, so only when they have doubled since the last time would be cheaper still;
    // creating a cache costs far more than this.
    for (serial, weak) in table.copy()? {
        if weak.cast::<PyWeakrefReference>()?.upgrade().is_none() {
            let _ = table.del_item(serial);
        }
    }
    Ok(())
}

/// Every cache that is not destroyed, oldest first.
pub(crate) fn living(py: Python<'_>) -> PyResult<Vec<Bound<'_, KmemCache>>> {
    let mut found = Vec::new();
    for (_, weak) in table(py).copy()? {
        if let Some(cache) = weak.cast::<PyWeakrefReference>()?.upgrade() {
            let cache = cache.cast_into::<KmemCache>()?;
            if !cache.get().guarded.is_destroyed() {
                found.push(cache);
            }
        }
    }
    found.sort_by_key(|cache| cache.get().serial);
    Ok(found)
}

/// Run by `os.fork` in the child: threads that were inside a cache are not there any more.
#[pyfunction]
fn _after_fork_in_child(py: Python<'_>) -> PyResult<()> {
    for cache in living(py)? {
        cache.get().guarded.reset_after_fork();
    }
    Ok(())
}

/// Hooks into `os.fork`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let hooks = PyDict::new(py);
    hooks.set_item("after_in_child", pyo3::wrap_pyfunction!(_after_fork_in_child, module)?)?;
    py.import("os")?.getattr("register_at_fork")?.call((), Some(&hooks))?;
    Ok(())
}
