//! The Python methods of `KmemCache`, but for the two hot ones (`object/hot.rs`).
#![forbid(unsafe_code)]

use std::sync::Arc;

use haybarn::{AllocFlags, CacheArgs, Hooks};
use pyo3::exceptions::{PyResourceWarning, PyTypeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use crate::args::{self, Args, Given};
use crate::cache::KmemCache;
use crate::construct::Calls;
use crate::guarded::{Gone, Left};
use crate::lifetimes::{Identity, Lifetimes, inside};
use crate::prefilled::PrefilledSheaf;
use crate::storage::{self, CacheStorage};
use crate::{ending, errors, flags, foreign, object, registry, report, sites};

#[pymethods]
impl KmemCache {
    #[new]
    #[pyo3(signature = (name, size, *, align=Given(None), flags=Given(None), sheaf_capacity=Given(None), min_order=Given(None), freeptr_offset=None,
        count_hits=true, ctor=None, dtor=None, storage=None, owner=None, useroffset=Given(None), usersize=None, track=None))]
    #[pyo3(text_signature = "(name, size, *, align=0, flags=0, sheaf_capacity=0, min_order=0, freeptr_offset=None, \
        count_hits=True, ctor=None, dtor=None, storage=None, owner=None, useroffset=0, usersize=None, track=None)")]
    #[expect(clippy::too_many_arguments, reason = "keywords of a Python class")]
    fn new<'py>(
        py: Python<'py>,
        name: &Bound<'py, PyString>,
        size: &Bound<'py, PyAny>,
        align: Given<'_>,
        flags: Given<'_>,
        sheaf_capacity: Given<'_>,
        min_order: Given<'_>,
        freeptr_offset: Option<&Bound<'py, PyAny>>,
        count_hits: bool,
        ctor: Option<Bound<'py, PyAny>>,
        dtor: Option<Bound<'py, PyAny>>,
        storage: Option<Bound<'py, PyAny>>,
        owner: Option<Bound<'py, PyAny>>,
        useroffset: Given<'_>,
        usersize: Option<&Bound<'py, PyAny>>,
        track: Option<bool>,
    ) -> PyResult<Bound<'py, Self>> {
        let name = &args::name(name)?;
        let args = Args { py, cache: name };
        let size = args.size(size)?;
        let track =
            track.map_or_else(sites::wanted, Ok).map_err(|error| errors::from_core(py, error.of_cache(name)))?;
        args.callable("ctor", ctor.as_ref())?;
        args.callable("dtor", dtor.as_ref())?;
        let storage = CacheStorage::argument(name, storage.as_ref())?.map(Bound::unbind);
        let mut args = CacheArgs {
            align: args.align(&align)?,
            flags: args.flags(&flags)?,
            sheaf_capacity: args.sheaf_capacity(&sheaf_capacity)?,
            freeptr_offset: args.freeptr_offset(freeptr_offset)?,
            min_order: args.min_order(&min_order)?,
            count_hits,
            usercopy: args.usercopy(size, &useroffset, usersize)?,
            owner: owner.map(storage::keep),
            ..CacheArgs::default()
        };
        let serial = registry::next_serial(py);
        let lifetimes = (ctor.is_some() || dtor.is_some())
            .then(|| Arc::new(Lifetimes::new(py, Identity { serial, name: name.clone() }, size, ctor, dtor)));
        args.hooks = lifetimes.clone().map(|lifetimes| Arc::new(Calls(lifetimes)) as Arc<dyn Hooks>);
        let core = storage.as_ref().map(|storage| &storage.get().core);
        let make = || Self::create(name, size, &args, serial, ending::queue_end, lifetimes.clone(), core);
        let mut cache = ending::retry_name(py, make)?;
        cache.storage = storage;
        if track {
            cache.guarded.track();
        }
        let cache = Bound::new(py, cache)?;
        if let Some(lifetimes) = cache.get().guarded.lifetimes() {
            lifetimes.belongs_to(cache.as_any());
        }
        registry::add(&cache)?;
        Ok(cache)
    }

    /// The name, as given.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of an object.
    #[getter]
    fn object_size(&self) -> usize {
        self.object_size
    }

    /// The first byte of an object that its buffer shows; 0 where it shows the whole object.
    #[getter]
    fn useroffset(&self) -> usize {
        self.region().0
    }

    /// How many bytes of an object its buffer shows, if a region was given; None: the whole object. As Linux's usercopy region.
    #[getter]
    fn usersize(&self) -> Option<usize> {
        self.usercopy.map(|(_, bytes)| bytes)
    }

    /// Bytes from one object to the next: the stride.
    #[getter]
    fn slab_size(&self) -> usize {
        self.slab_size
    }

    /// Bytes: the effective alignment of each object.
    #[getter]
    fn align(&self) -> usize {
        self.info.align
    }

    /// A slab has 2**order pages.
    #[getter]
    fn order(&self) -> u8 {
        self.info.order
    }

    /// Objects of a slab.
    #[getter]
    fn objs_per_slab(&self) -> u32 {
        self.info.objs_per_slab
    }

    /// Slabs with free objects that a node keeps before it gives wholly free ones back.
    #[getter]
    fn min_partial(&self, py: Python<'_>) -> u64 {
        // What was written to the attribute; the last known value once the cache is destroyed.
        self.inside(py, |raw| raw.info().min_partial).unwrap_or(self.info.min_partial)
    }

    /// Of 100 refills that found their own node's partial slabs used up, how many may take from other nodes' before they make
    /// new slabs: 0 (never) to 100, the default. May be set (BadArgumentError out of range). As Linux's attribute.
    #[getter]
    fn remote_node_defrag_ratio(&self, py: Python<'_>) -> PyResult<u32> {
        self.inside(py, haybarn::RawCache::remote_node_defrag_ratio)
    }

    #[setter(remote_node_defrag_ratio)]
    fn set_remote_node_defrag_ratio(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let ratio = Args { py, cache: &self.name }.defrag_ratio(value)?;
        let set = self.inside(py, |raw| raw.set_remote_node_defrag_ratio(ratio))?;
        set.map_err(|error| errors::from_core(py, error.of_cache(&self.name)))
    }

    /// A dict for each node, by its number: its slabs, total_objects, partial and dead_slabs, the full and empty sheaves of its
    /// barn and the objects in them (barn_full, barn_empty, in_barn), and the objects in its CPUs' sheaves (in_cpus). They
    /// belong to the storage that the primary has.
    fn node_stats<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        report::nodes(py, &self.inside(py, |raw| py.detach(|| raw.stats()))?)
    }

    /// Objects of a sheaf; 0: no sheaves.
    #[getter]
    fn sheaf_capacity(&self) -> u32 {
        self.info.sheaf_capacity
    }

    /// The flags, as given.
    #[getter]
    fn flags<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        flags::to_python(py, self.info.flags)
    }

    /// The constructor, as given; None without one.
    #[getter]
    fn ctor(&self) -> Option<&Py<PyAny>> {
        self.guarded.lifetimes().and_then(Lifetimes::ctor)
    }

    /// The destructor, as given; None without one.
    #[getter]
    fn dtor(&self) -> Option<&Py<PyAny>> {
        self.guarded.lifetimes().and_then(Lifetimes::dtor)
    }

    /// A list of n new objects, all or nothing; their bytes are zero if asked.
    #[pyo3(signature = (n, *, zero=false))]
    fn alloc_bulk<'py>(this: &Bound<'py, Self>, n: &Bound<'py, PyAny>, zero: bool) -> PyResult<Bound<'py, PyList>> {
        let n = Args { py: this.py(), cache: &this.get().name }.count(n)?;
        object::alloc_many(this, n, if zero { AllocFlags::ZERO } else { AllocFlags::empty() })
    }

    /// Frees every object of a sequence, or none of them: all are checked first.
    #[pyo3(signature = (objs, /))]
    fn free_bulk(this: &Bound<'_, Self>, objs: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        let list = match objs.cast::<PyTuple>() {
            Ok(tuple) => tuple.clone(),
            Err(_) => foreign::call_with(&py.get_type::<PyTuple>(), objs)?.cast_into::<PyTuple>()?,
        };
        object::free_many(this, &list)
    }

    /// A sheaf with n objects (1 to 2**32 - 1) set aside, or more: as many calls of its alloc() cannot fail.
    ///
    /// Raises BadArgumentError, OutOfMemoryError (a MemoryError; nothing is set aside then), or CacheDestroyedError.
    #[pyo3(signature = (n, /))]
    fn prefill<'py>(this: &Bound<'py, Self>, n: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PrefilledSheaf>> {
        let n = Args { py: this.py(), cache: &this.get().name }.prefilled(n)?;
        PrefilledSheaf::new(this, n)
    }

    /// The statistics as a dict. `allocated`, `freed` and `objects` (live) count what was done under this name; all else is of
    /// the slabs, which belong to the cache that `primary` names and to those that share them with it.
    #[pyo3(name = "stats")]
    fn stats_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        report::stats(py, &self.stats(py, &registry::sharing_of(py, self.guarded.name(), self.guarded.tally())?)?)
    }

    /// The name of the cache that the slabs belong to: its own, or that of the oldest one that it shares them with; None once
    /// it is destroyed.
    ///
    /// Thread-safe. As the kernel's primary caches: see docs/merging.md.
    #[getter]
    fn primary(&self) -> Option<String> {
        self.guarded.name().primary()
    }

    /// The names of the other caches that share its slabs, oldest first; a tuple. Thread-safe.
    #[getter]
    fn aliases<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.guarded.name().aliases())
    }

    /// The CacheStorage that it was made in, or None.
    #[getter]
    fn storage(&self, py: Python<'_>) -> Option<Py<CacheStorage>> {
        self.storage.as_ref().map(|storage| storage.clone_ref(py))
    }

    /// Whether it remembers where its live objects were allocated.
    #[getter]
    fn track(&self) -> bool {
        self.guarded.sites().is_some()
    }

    /// What it keeps alive: the `owner` that it was made with; None where there was none, and once it is destroyed.
    #[getter]
    fn owner<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        storage::owner_of(py, self.guarded.name())
    }

    /// Gives wholly free slabs back; how many.
    fn shrink(&self, py: Python<'_>) -> PyResult<u64> {
        self.check_outside(py, inside::SHRINK)?;
        let released = self.inside(py, |raw| py.detach(|| raw.shrink()));
        self.guarded.settle(py);
        released
    }

    /// Checks the whole cache; CorruptionError lists what is wrong.
    fn validate(&self, py: Python<'_>) -> PyResult<()> {
        self.check_outside(py, inside::VALIDATE)?;
        self.inside(py, |raw| py.detach(|| raw.validate()))?.map_err(|error| errors::from_core(py, error))
    }

    /// Destroys the cache; with live objects it raises CacheBusyError and stays usable.
    ///
    /// Waits for the grace period of what free_rcu was given; ReadSectionError inside a read section, where that would never end.
    fn destroy(&self, py: Python<'_>) -> PyResult<()> {
        self.check_outside(py, inside::DESTROY)?;
        self.destroy_now(py)
    }

    /// Gives an object of this cache back after a grace period; the same as obj.free_rcu().
    ///
    /// Raises WrongCacheError, DoubleFreeError, or ReadSectionError where there is no memory to remember the object by and the
    /// caller is inside a read section; the object is then as it was. Thread-safe. As the kernel's kfree_rcu().
    #[pyo3(signature = (obj, /))]
    fn free_rcu(this: &Bound<'_, Self>, obj: &Bound<'_, PyAny>) -> PyResult<()> {
        object::free_rcu_of(this, obj)
    }

    /// Waits until every object of this cache that was freed by free_rcu before can be reused.
    ///
    /// Not for other caches, nor for callbacks. Other threads run meanwhile, and Ctrl-C ends the waiting. Works on a closed
    /// cache, which goes if they were its last objects. Raises ReadSectionError inside a read section of the calling thread,
    /// CacheDestroyedError. Thread-safe. As the kernel's kvfree_rcu_barrier_on_cache().
    fn rcu_barrier(&self, py: Python<'_>) -> PyResult<()> {
        self.check_outside(py, inside::WAIT)?;
        self.rcu_barrier_now(py)
    }

    fn __enter__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        let cache = this.get();
        if cache.guarded.is_closed() {
            return Err(cache.gone(this.py(), cache.guarded.gone()));
        }
        Ok(this.clone())
    }

    #[pyo3(signature = (*_exc_info))]
    fn __exit__(&self, py: Python<'_>, _exc_info: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.check_outside(py, inside::DESTROY)?;
        let Left { live, prefilled } = self.close(py)?;
        let what = match (live, prefilled) {
            (0, 0) => return Ok(()),
            (_, 0) => format!("{live} live object(s)"),
            (0, _) => format!("{prefilled} prefilled sheaf/sheaves out"),
            _ => format!("{live} live object(s) and {prefilled} prefilled sheaf/sheaves out"),
        };
        let at = self.left_at(py);
        let text = format!(
            "cache '{}' was left with {what}{at}: it takes no new ones and goes when the last of them goes",
            self.name
        );
        let text = std::ffi::CString::new(text).map_err(|_| PyTypeError::new_err("a name with a NUL"))?;
        foreign::warn(&py.get_type::<PyResourceWarning>(), &text)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.guarded.lifetimes().map_or(Ok(()), |lifetimes| lifetimes.traverse(&visit))
    }

    fn __repr__(&self) -> String {
        let state = match (self.guarded.is_closed(), self.guarded.gone()) {
            (false, _) => "",
            (true, Gone::Closed) => ", closed",
            (true, _) => ", destroyed",
        };
        format!("<haybarn.KmemCache '{}', {} bytes{state}>", self.name, self.object_size)
    }
}
