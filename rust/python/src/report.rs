//! What Python gets to see of the arena and of one cache: `info`, `slabinfo`, a dict of statistics.
#![forbid(unsafe_code)]

use haybarn::{Arena, CacheStats, Stat, sysfs};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};

use crate::cache::Stats;
use crate::{errors, fault};

/// A sum, and its name.
type Sum = (&'static str, fn(&CacheStats) -> u64);

const SUMS: &[Sum] = &[
    ("rcu_pending", |stats| stats.rcu_pending),
    ("total_objects", |stats| stats.total_objects),
    ("slabs", |stats| stats.slabs),
    ("partial", |stats| stats.partial),
    ("dead_slabs", |stats| stats.dead_slabs),
    ("in_sheaves", |stats| stats.in_sheaves),
    ("prefilled", |stats| stats.prefilled),
    ("in_prefilled", |stats| stats.in_prefilled),
];

/// The keys of every dict of statistics, made once: who polls many caches makes no strings.
fn keys(py: Python<'_>) -> &'static [Py<PyString>] {
    static KEYS: PyOnceLock<Vec<Py<PyString>>> = PyOnceLock::new();
    KEYS.get_or_init(py, || {
        let names = Stat::ALL.iter().map(|stat| stat.name()).chain(SUMS.iter().map(|(name, _)| *name));
        names.map(|name| PyString::intern(py, name).unbind()).collect()
    })
}

/// One cache's counters and sums as a dict.
pub(crate) fn stats<'py>(py: Python<'py>, found: &Stats) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let counters = Stat::ALL.iter().map(|&stat| found.get(stat));
    let sums = SUMS.iter().map(|(_, sum)| sum(&found.core));
    for (key, value) in keys(py).iter().zip(counters.chain(sums)) {
        dict.set_item(key.bind(py), value)?;
    }
    let (allocated, freed, live) = found.own;
    dict.set_item(intern!(py, "primary"), &found.primary)?;
    dict.set_item(intern!(py, "allocated"), allocated)?;
    dict.set_item(intern!(py, "freed"), freed)?;
    dict.set_item(intern!(py, "objects"), live)?;
    Ok(dict)
}

/// The part of each node, by its number, as a list of dicts.
pub(crate) fn nodes<'py>(py: Python<'py>, stats: &CacheStats) -> PyResult<Vec<Bound<'py, PyDict>>> {
    let node = |part: &haybarn::NodeStats| {
        let dict = PyDict::new(py);
        dict.set_item("slabs", part.slabs)?;
        dict.set_item("total_objects", part.total_objects)?;
        dict.set_item("partial", part.partial)?;
        dict.set_item("dead_slabs", part.dead_slabs)?;
        dict.set_item("barn_full", part.barn.0)?;
        dict.set_item("barn_empty", part.barn.1)?;
        dict.set_item("in_barn", part.in_barn)?;
        dict.set_item("in_cpus", part.in_cpus)?;
        Ok(dict)
    };
    stats.nodes.iter().map(node).collect()
}

/// What runs here and why: version, backend, CPUs, and the memory that the arena holds, in bytes.
#[pyfunction]
pub(crate) fn info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let found = Arena::global().map_err(|error| errors::from_core(py, error))?.info();
    let dict = PyDict::new(py);
    dict.set_item("version", env!("CARGO_PKG_VERSION"))?;
    dict.set_item("backend", found.backend.name())?;
    dict.set_item("backend_why", found.backend_why)?;
    dict.set_item("doubleword", format!("{:?}", found.form).to_lowercase())?;
    dict.set_item("cpus", found.cpus)?;
    dict.set_item("present_cpus", found.present_cpus)?;
    dict.set_item("possible_cpus", found.possible_cpus)?;
    dict.set_item("nodes", found.nodes)?;
    dict.set_item("nodes_why", found.nodes_why)?;
    dict.set_item("page_source", found.source)?;
    dict.set_item("min_order", found.min_order)?;
    dict.set_item("reserved_bytes", found.reserved)?;
    dict.set_item("used_bytes", found.used)?;
    dict.set_item("dirty_free_bytes", found.dirty_free)?;
    dict.set_item("metadata_bytes", found.metadata)?;
    dict.set_item("rcu_reader_fence", haybarn::rcu::reader_fence())?;
    dict.set_item("fault_injection", fault::active_faults(py))?;
    Ok(dict)
}

/// Every cache of the process in the text format of /proc/slabinfo, version 2.1.
///
/// One row for each storage, under its primary's name: what other names hold is in there.
#[pyfunction]
pub(crate) fn slabinfo(py: Python<'_>) -> PyResult<String> {
    let arena = Arena::global().map_err(|error| errors::from_core(py, error))?;
    Ok(py.detach(|| sysfs::slabinfo(arena)))
}
