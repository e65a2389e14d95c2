//! All caches of the process at once: `caches` and `stats`.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use haybarn::{Arena, sysfs};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::cache::KmemCache;
use crate::cache_view::CacheView;
use crate::{errors, registry, report};

/// The caches that are not destroyed, by name, oldest first: a KmemCache where Python made it, else a CacheView.
///
/// The latter are kmalloc's size classes, each from its first use on, and hidden primaries.
#[pyfunction]
pub(crate) fn caches(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let arena = Arena::global().map_err(|error| errors::from_core(py, error))?;
    let names = py.detach(|| arena.names());
    let living = registry::living(py)?;
    let ours: HashMap<&str, &Bound<'_, KmemCache>> =
        living.iter().map(|cache| (cache.get().name.as_str(), cache)).collect();
    let dict = PyDict::new(py);
    for name in &names {
        if let Some(cache) = ours.get(name.name()) {
            dict.set_item(name.name(), cache)?;
        } else if let Some(view) = CacheView::of(arena, name) {
            dict.set_item(name.name(), view)?;
        }
    }
    // Those that were made since the look at the names.
    for cache in &living {
        if !dict.contains(&cache.get().name)? {
            dict.set_item(&cache.get().name, cache)?;
        }
    }
    Ok(dict)
}

/// The statistics of every cache of `caches()`: name -> dict.
#[pyfunction(name = "stats")]
pub(crate) fn all_stats(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let arena = Arena::global().map_err(|error| errors::from_core(py, error))?;
    let living = registry::living(py)?;
    // All at once: other threads get their turn one time, not as many times as there are caches.
    let all = py.detach(|| sysfs::stats(arena));
    let shared = registry::sharing(arena, &living);
    let ours: HashMap<&str, &KmemCache> = living.iter().map(|cache| (cache.get().name.as_str(), cache.get())).collect();
    let dict = PyDict::new(py);
    for (name, core) in all {
        // One that is destroyed meanwhile is simply not there any more.
        let Some(sharing) = shared.get(&name.storage_id()) else { continue };
        let found = match ours.get(name.name()) {
            Some(cache) => (!cache.guarded.is_destroyed()).then(|| cache.with_hits(core, sharing)),
            None => CacheView::of(arena, &name).map(|view| view.with_hits(core, sharing)),
        };
        if let Some(found) = found {
            dict.set_item(name.name(), report::stats(py, &found)?)?;
        }
    }
    Ok(dict)
}
