//! The caches that Python made, by number of creation, weakly held.

use std::collections::HashMap;

use haybarn::sync::Published;
use haybarn::{Arena, CacheName, kmalloc};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyWeakrefMethods, PyWeakrefReference};

use crate::cache::{KmemCache, Sharing};
use crate::lifetimes::later;
use crate::table::Table;
use crate::{kmalloc as classes, object, rcu};

static CACHES: PyOnceLock<Table> = PyOnceLock::new();
/// Entries at which the dead ones are looked for.
static FORGET_AT: PyOnceLock<Published> = PyOnceLock::new();
const FEW: u64 = 64;
static SERIALS: PyOnceLock<Published> = PyOnceLock::new();

fn table(py: Python<'_>) -> Bound<'_, PyDict> {
    CACHES.get_or_init(py, || Table::new(py)).dict().bind(py).clone()
}

/// A number that no other cache has.
pub(crate) fn next_serial(py: Python<'_>) -> u64 {
    SERIALS.get_or_init(py, || Published::new(0)).take(1)
}

/// Remembers a new cache, and now and then forgets those that are gone.
pub(crate) fn add(cache: &Bound<'_, KmemCache>) -> PyResult<()> {
    let py = cache.py();
    let table = table(py);
    table.set_item(cache.get().guarded.serial(), PyWeakrefReference::new(cache.as_any())?)?;
    if table.len() as u64 >= FORGET_AT.get_or_init(py, || Published::new(FEW)).read() {
        forget(py, &table)?;
    }
    Ok(())
}

/// Remembers a cache again that was garbage: the collector has cleared the weak reference, and the cache may live on.
pub(crate) fn keep_known(cache: &Bound<'_, KmemCache>) -> PyResult<()> {
    if find(cache.py(), cache.get().guarded.serial())?.is_none() { add(cache) } else { Ok(()) }
}

/// Drops the entries of caches that are gone; next time when there are twice as many as are left.
fn forget(py: Python<'_>, table: &Bound<'_, PyDict>) -> PyResult<()> {
    for (serial, weak) in table.copy()? {
        if cache_of(&weak).is_none() {
            // Another thread may have been here too: then there is nothing left to drop.
            let _ = table.del_item(serial);
        }
    }
    FORGET_AT.get_or_init(py, || Published::new(FEW)).publish(FEW.max(2 * table.len() as u64));
    Ok(())
}

/// The cache with that number, if its Python object is there.
pub(crate) fn find(py: Python<'_>, serial: u64) -> PyResult<Option<Bound<'_, KmemCache>>> {
    Ok(table(py).get_item(serial)?.and_then(|weak| cache_of(&weak)))
}

/// The cache of an entry, if it is there. The collector shows the dict to whoever asks, who may put anything in.
fn cache_of<'py>(weak: &Bound<'py, PyAny>) -> Option<Bound<'py, KmemCache>> {
    weak.cast::<PyWeakrefReference>().ok()?.upgrade()?.cast_into().ok()
}

/// Every cache that is not destroyed, oldest first.
pub(crate) fn living(py: Python<'_>) -> PyResult<Vec<Bound<'_, KmemCache>>> {
    let mut found = Vec::new();
    for (_, weak) in table(py).copy()? {
        found.extend(cache_of(&weak).filter(|cache| !cache.get().guarded.is_destroyed()));
    }
    found.sort_by_key(|cache| cache.get().guarded.serial());
    Ok(found)
}

/// What caches share, by storage: `living` are Python's.
pub(crate) fn sharing(arena: &'static Arena, living: &[Bound<'_, KmemCache>]) -> HashMap<usize, Sharing> {
    let mut found = HashMap::new();
    for name in arena.names() {
        // The first is the primary. A class of kmalloc is shared with nobody.
        let of_storage = || Sharing {
            primary: name.name().to_owned(),
            calls: kmalloc::class_named(arena, &name).map_or_else(|| name.departed_calls(), classes::tally),
        };
        found.entry(name.storage_id()).or_insert_with(of_storage);
    }
    for cache in living {
        let guarded = &cache.get().guarded;
        let (allocs, frees) = guarded.tally();
        if let Some(sharing) = found.get_mut(&guarded.name().storage_id()) {
            sharing.calls = (sharing.calls.0 + allocs, sharing.calls.1 + frees);
        }
    }
    found
}

/// The same of one name, under which Python allocated and freed so many objects.
pub(crate) fn sharing_of(py: Python<'_>, name: &CacheName, own: (u64, u64)) -> PyResult<Sharing> {
    let mut calls = name.departed_calls();
    let mut add = |(allocs, frees): (u64, u64)| calls = (calls.0 + allocs, calls.1 + frees);
    if name.is_shared() {
        let living = living(py)?;
        let sharing = living.iter().map(|other| &other.get().guarded);
        let sharing = sharing.filter(|other| other.name().storage_id() == name.storage_id());
        sharing.for_each(|other| add(other.tally()));
    } else {
        add(own);
    }
    Ok(Sharing { primary: name.primary().unwrap_or_else(|| name.name().to_owned()), calls })
}

/// Run by `os.fork` in the child: threads that were inside a cache are not there any more.
#[pyfunction]
fn _after_fork_in_child(py: Python<'_>) -> PyResult<()> {
    object::reset_after_fork(py);
    if let Some(caches) = CACHES.get(py) {
        // SAFETY: a fork leaves one thread, and whoever uses the dict here has a reference of its own.
        unsafe { caches.renew(py) };
    }
    for cache in living(py)? {
        cache.get().guarded.reset_after_fork(py);
    }
    rcu::after_fork_in_child();
    later::prepared(py);
    Ok(())
}

/// Hooks into `os.fork`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let hooks = PyDict::new(py);
    hooks.set_item("after_in_child", pyo3::wrap_pyfunction!(_after_fork_in_child, module)?)?;
    py.import("os")?.getattr("register_at_fork")?.call((), Some(&hooks))?;
    later::prepared(py);
    Ok(())
}
