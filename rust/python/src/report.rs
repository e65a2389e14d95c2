//! What Python gets to see of the arena and its caches: `info`, `caches`, `stats`, `slabinfo`.
#![forbid(unsafe_code)]

use std::fmt::Write;

use haybarn::{Arena, RawCache, Stat};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::cache::Stats;
use crate::{errors, fault, registry};

/// One cache's counters and sums as a dict.
pub(crate) fn stats<'py>(py: Python<'py>, found: &Stats) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for &stat in Stat::ALL {
        dict.set_item(stat.name(), found.get(stat))?;
    }
    dict.set_item("objects", found.core.objects)?;
    dict.set_item("rcu_pending", found.core.rcu_pending)?;
    dict.set_item("total_objects", found.core.total_objects)?;
    dict.set_item("slabs", found.core.slabs)?;
    dict.set_item("partial", found.core.partial)?;
    dict.set_item("dead_slabs", found.core.dead_slabs)?;
    dict.set_item("in_sheaves", found.core.in_sheaves)?;
    dict.set_item("prefilled", found.core.prefilled)?;
    dict.set_item("in_prefilled", found.core.in_prefilled)?;
    Ok(dict)
}

/// The caches that Python made and that are not destroyed: name -> KmemCache, oldest first.
#[pyfunction]
pub(crate) fn caches(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    for cache in registry::living(py)? {
        dict.set_item(&cache.get().name, &cache)?;
    }
    Ok(dict)
}

/// The statistics of every cache of `caches()`: name -> dict.
#[pyfunction(name = "stats")]
pub(crate) fn all_stats(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    for cache in registry::living(py)? {
        // One that is destroyed meanwhile is simply not there any more.
        if let Ok(found) = cache.get().stats(py) {
            dict.set_item(&cache.get().name, stats(py, &found)?)?;
        }
    }
    Ok(dict)
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

/// Every cache that Python made in the text format of /proc/slabinfo, version 2.1.
#[pyfunction]
pub(crate) fn slabinfo(py: Python<'_>) -> PyResult<String> {
    let mut text = String::from(
        "slabinfo - version: 2.1\n\
         # name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> \
         : tunables <limit> <batchcount> <sharedfactor> \
         : slabdata <active_slabs> <num_slabs> <sharedavail>\n",
    );
    for cache in registry::living(py)? {
        if let Ok(row) = cache.get().inside(py, |raw| py.detach(|| row(raw))) {
            text.push_str(&row.map_err(|_| PyRuntimeError::new_err("a row of slabinfo cannot be written"))?);
        }
    }
    Ok(text)
}

/// One line, with the kernel's widths. As there, an object in a sheaf counts as active, one that is prefilled too.
fn row(raw: RawCache) -> Result<String, std::fmt::Error> {
    let (info, stats) = (raw.info(), raw.stats());
    let mut text = String::new();
    write!(text, "{:<17} ", info.name)?;
    let active = stats.objects + stats.in_sheaves + stats.in_prefilled;
    write!(text, "{active:>6} {:>6} {:>6} ", stats.total_objects, info.slab_size)?;
    write!(text, "{:>4} {:>4} : tunables {:>4} {:>4} {:>4} ", info.objs_per_slab, 1u64 << info.order, 0, 0, 0)?;
    writeln!(text, ": slabdata {:>6} {:>6} {:>6}", stats.slabs, stats.slabs, 0)?;
    Ok(text)
}
