//! `CacheView`: what Python sees of a cache of the process that is none of its `KmemCache`s, which are kmalloc's size classes and
//! the hidden primaries.
#![forbid(unsafe_code)]

use std::hash::{DefaultHasher, Hash, Hasher};

use haybarn::{Arena, CacheName, CacheStats, RawCache, kmalloc};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::cache::{Sharing, Stats};
use crate::errors::{self, Kind};
use crate::{flags, kmalloc as classes, registry, report};

/// A cache that the library itself has made: one of kmalloc's size classes ("kmalloc-64"), or the hidden primary of caches that
/// share slabs (":0000064"). It can be looked at, shrunk and checked, with the names that KmemCache has; nobody allocates from it
/// by hand or destroys it.
///
/// `haybarn.caches()` makes them; two of the same cache are equal. Thread-safe. As the kernel's folders in /sys/kernel/slab of
/// caches that are not the reader's.
#[pyclass(frozen, immutable_type, module = "haybarn")]
pub(crate) struct CacheView {
    /// Keeps nothing of the cache.
    cache: CacheName,
    /// Its place among kmalloc's size classes, if it is one.
    class: Option<usize>,
}

impl CacheView {
    /// What is to be seen of a name, if it is one that Python did not make.
    pub(crate) fn of(arena: &'static Arena, name: &CacheName) -> Option<Self> {
        let class = kmalloc::class_named(arena, name);
        (class.is_some() || name.is_hidden()).then(|| Self { cache: name.keeping_nothing(), class })
    }

    /// Objects that Python took and gave back under this name: nobody else in the process does.
    pub(crate) fn tally(&self) -> (u64, u64) {
        self.class.map_or((0, 0), classes::tally)
    }

    /// Objects under this name that are live.
    pub(crate) fn live(&self) -> u64 {
        let (allocs, frees) = self.tally();
        // Who reads while others count may see a free and not the allocation before it.
        allocs.saturating_sub(frees)
    }

    /// What the core found, and what Python's calls have counted.
    pub(crate) fn with_hits(&self, core: CacheStats, sharing: &Sharing) -> Stats {
        let (allocs, frees) = self.tally();
        let calls = (!self.cache.info().counts_hits).then_some(sharing.calls);
        Stats { own: (allocs, frees, self.live()), primary: sharing.primary.clone(), calls, core }
    }

    /// Runs `call`, which waits for nobody, with the cache, which does not end meanwhile.
    fn inside<R: Send>(&self, py: Python<'_>, call: impl FnOnce(RawCache) -> R + Send) -> PyResult<R> {
        py.detach(|| self.cache.pin().map(|pinned| call(*pinned))).ok_or_else(|| {
            let text = format!("cache '{}' is destroyed: the last of the caches that shared its slabs is", self.name());
            errors::error(py, Kind::CacheDestroyed, text)
        })
    }
}

#[pymethods]
impl CacheView {
    /// The name, as in the tree of attributes.
    #[getter]
    fn name(&self) -> &str {
        self.cache.name()
    }

    /// Bytes of an object.
    #[getter]
    fn object_size(&self) -> usize {
        self.cache.object_size()
    }

    /// Bytes from one object to the next: the stride.
    #[getter]
    fn slab_size(&self) -> usize {
        self.cache.info().slab_size
    }

    /// Bytes: the effective alignment of each object.
    #[getter]
    fn align(&self) -> usize {
        self.cache.align()
    }

    /// A slab has 2**order pages.
    #[getter]
    fn order(&self) -> u8 {
        self.cache.info().order
    }

    /// Objects of a slab.
    #[getter]
    fn objs_per_slab(&self) -> u32 {
        self.cache.info().objs_per_slab
    }

    /// Slabs with free objects that a node keeps before it gives wholly free ones back.
    #[getter]
    fn min_partial(&self, py: Python<'_>) -> u64 {
        self.inside(py, |raw| raw.info().min_partial).unwrap_or_else(|_| self.cache.info().min_partial)
    }

    /// Objects of a sheaf; 0: no sheaves.
    #[getter]
    fn sheaf_capacity(&self) -> u32 {
        self.cache.info().sheaf_capacity
    }

    /// Its flags.
    #[getter]
    fn flags<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        flags::to_python(py, self.cache.flags())
    }

    /// Of 100 refills that found their own node's partial slabs used up, how many may take from other nodes'. To be set by
    /// `haybarn.sysfs.write`.
    #[getter]
    fn remote_node_defrag_ratio(&self, py: Python<'_>) -> PyResult<u32> {
        self.inside(py, RawCache::remote_node_defrag_ratio)
    }

    /// The name of the cache that the slabs belong to: its own; None once it is destroyed.
    #[getter]
    fn primary(&self) -> Option<String> {
        self.cache.primary()
    }

    /// The names of the caches that share its slabs, oldest first; a tuple.
    #[getter]
    fn aliases<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.cache.aliases())
    }

    /// The statistics as a dict: those of KmemCache.stats(). `allocated`, `freed` and `objects` count what Python took by this
    /// name: by kmalloc() and krealloc(), and nothing by a hidden one.
    #[pyo3(name = "stats")]
    fn stats_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let core = self.inside(py, RawCache::stats)?;
        let sharing = registry::sharing_of(py, &self.cache, self.tally())?;
        report::stats(py, &self.with_hits(core, &sharing))
    }

    /// A dict for each node, by its number: as KmemCache.node_stats().
    fn node_stats<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        report::nodes(py, &self.inside(py, RawCache::stats)?)
    }

    /// Gives wholly free slabs back; how many.
    fn shrink(&self, py: Python<'_>) -> PyResult<u64> {
        self.inside(py, RawCache::shrink)
    }

    /// Checks the whole cache; CorruptionError lists what is wrong.
    fn validate(&self, py: Python<'_>) -> PyResult<()> {
        self.inside(py, RawCache::validate)?.map_err(|error| errors::from_core(py, error))
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.cache.is(&other.cache)
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.name().hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self) -> String {
        let state = if self.cache.is_living() { "" } else { ", destroyed" };
        format!("<haybarn.CacheView '{}', {} bytes{state}>", self.name(), self.object_size())
    }
}
