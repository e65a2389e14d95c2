//! `KmemCache`: the cache behind its gate and what its objects need to know of it. Its Python methods are in
//! `methods.rs`, the two hot ones in `object/`.
#![forbid(unsafe_code)]

use std::ptr::NonNull;
use std::sync::Arc;

use haybarn::{
    AllocFlags, Arena, CacheArgs, CacheInfo, CacheName, CacheStats, DtorMode, Error, RawCache, SlabFlags, Stat,
};
use pyo3::prelude::*;

use crate::errors::{self, Kind};
use crate::gate::Does;
use crate::guarded::{Gone, Guarded, NoObject, QueueEnd};
use crate::lifetimes::{Lifetimes, inside};
use crate::storage::CacheStorage;

/// A cache of objects of one size; see the stub for its Python documentation.
#[pyclass(frozen, weakref, immutable_type, module = "haybarn")]
pub(crate) struct KmemCache {
    pub(crate) guarded: Guarded,
    pub(crate) name: String,
    /// Where it was made, if that was said.
    pub(crate) storage: Option<Py<CacheStorage>>,
    /// What does not change.
    pub(crate) info: CacheInfo,
    /// Whether the hits of the core's inlined paths are wanted, and counted here.
    counts_hits: bool,
    /// Bytes of an object.
    pub(crate) object_size: usize,
    /// Offset and size in bytes of the region that an object's buffer shows, if that is not the whole object.
    pub(crate) usercopy: Option<(usize, usize)>,
    /// Bytes that an object takes in its slab.
    pub(crate) slab_size: usize,
    /// Bytes that its arena can ever hold.
    pub(crate) reserved: usize,
}

/// What a cache shares its slabs with.
pub(crate) struct Sharing {
    /// The primary's name.
    pub(crate) primary: String,
    /// Objects allocated and freed by all who share them, or did.
    pub(crate) calls: (u64, u64),
}

/// A cache's counters and sums at one moment; exact when the cache is quiet.
pub(crate) struct Stats {
    /// Of this name: objects allocated, freed, and live.
    pub(crate) own: (u64, u64, u64),
    /// The name of the primary, which `core` belongs to.
    pub(crate) primary: String,
    /// Objects allocated and freed by all who share the slabs, if hits are wanted and the core does not count them.
    pub(crate) calls: Option<(u64, u64)>,
    pub(crate) core: CacheStats,
}

impl Stats {
    /// A counter, summed over the CPUs.
    pub(crate) fn get(&self, stat: Stat) -> u64 {
        self.calls.and_then(|calls| self.core.hits(stat, calls)).unwrap_or_else(|| self.core.get(stat))
    }
}

impl KmemCache {
    /// Creates the cache in the process's arena.
    pub(crate) fn create(
        name: &str,
        size: usize,
        args: &CacheArgs,
        serial: u64,
        queue_end: QueueEnd,
        lifetimes: Option<Arc<Lifetimes>>,
        storage: Option<&Arc<haybarn::CacheStorage>>,
    ) -> Result<Self, Error> {
        // What PANIC means to Python is an exception, which every failure is.
        let mut calm = CacheArgs { flags: args.flags - SlabFlags::PANIC, count_hits: false, ..args.clone() };
        if let Some(lifetimes) = &lifetimes {
            calm.dtor_mode = DtorMode::Manual;
            calm.private_bytes = if lifetimes.constructs() { Lifetimes::PRIVATE_BYTES } else { 0 };
        }
        let arena = Arena::global()?;
        let made = match storage {
            None => CacheName::create(arena, name, size, &calm)?,
            Some(storage) => storage.setup_shared(arena, name, size, &calm)?,
        };
        let mut info = made.info();
        info.flags |= args.flags;
        Ok(Self {
            guarded: Guarded::new(&made, storage.cloned(), serial, queue_end, lifetimes),
            storage: None,
            // The core's own counting of hits costs more than the rest of its fast path; see `gate`.
            counts_hits: args.count_hits && !info.counts_hits,
            name: info.name.clone(),
            object_size: info.object_size,
            usercopy: made.usercopy(),
            slab_size: info.slab_size,
            reserved: arena.info().reserved,
            info,
        })
    }

    /// The first byte of an object that its buffer shows, and how many it shows.
    pub(crate) fn region(&self) -> (usize, usize) {
        self.usercopy.unwrap_or((0, self.object_size))
    }

    /// The statistics, with the hits of the core's inlined paths where they are counted here.
    pub(crate) fn stats(&self, py: Python<'_>, sharing: &Sharing) -> PyResult<Stats> {
        Ok(self.with_hits(self.inside(py, |raw| py.detach(|| raw.stats()))?, sharing))
    }

    /// What the core found, and the hits.
    pub(crate) fn with_hits(&self, core: CacheStats, sharing: &Sharing) -> Stats {
        let (allocs, frees) = self.guarded.tally();
        let calls = self.counts_hits.then_some(sharing.calls);
        Stats { own: (allocs, frees, self.guarded.live()), primary: sharing.primary.clone(), calls, core }
    }

    /// Objects allocated and freed under this name, if what the core counts of them lacks the hits. That they are not wanted is
    /// no reason where others share the slabs, who may want them.
    pub(crate) fn uncounted_by_core(&self) -> Option<(u64, u64)> {
        let wanted = self.counts_hits || (!self.info.counts_hits && self.guarded.name().is_shared());
        wanted.then(|| self.guarded.tally())
    }

    /// Whether this may be done here: not in the cache's own callbacks.
    pub(crate) fn check_outside(&self, py: Python<'_>, what: inside::What) -> PyResult<()> {
        self.guarded.lifetimes().map_or(Ok(()), |lifetimes| inside::check(py, &lifetimes.identity, what))
    }

    /// Runs `call` with the core cache, which is not destroyed meanwhile.
    pub(crate) fn inside<R>(&self, py: Python<'_>, call: impl FnOnce(RawCache) -> R) -> PyResult<R> {
        self.guarded.enter(py, Does::Alloc, true, |raw, _| call(raw)).map_err(|gone| self.gone(py, gone))
    }

    /// How many nodes the cache's arena has.
    pub(crate) fn nodes(&self, py: Python<'_>) -> PyResult<u32> {
        self.inside(py, |raw| raw.arena().nodes())
    }

    /// The error for a use that the cache's state forbids.
    #[cold]
    pub(crate) fn gone(&self, py: Python<'_>, gone: Gone) -> PyErr {
        let text = match gone {
            Gone::Closed => {
                format!("cache '{}' is closed: it was left by `with` and gives out no new objects", self.name)
            }
            Gone::Destroyed => format!("cache '{}' is destroyed: create it again under this name", self.name),
            Gone::Inside => return inside::would_wait(py, self.guarded.serial(), &self.name),
            Gone::Stuck => {
                let text = "the interpreter is ending, and a thread that is inside of a call does not run any more";
                return errors::error(py, Kind::Unavailable, format!("cache '{}': {text}", self.name));
            }
        };
        errors::error(py, Kind::CacheDestroyed, text)
    }

    /// Whether an allocation is legal here: not in a destructor, not in this cache's callbacks, and no zeros over what a
    /// constructor wrote.
    pub(crate) fn check_alloc(&self, py: Python<'_>, flags: AllocFlags) -> PyResult<()> {
        inside::check_alloc(py, self.guarded.serial(), &self.name)?;
        if flags.contains(AllocFlags::ZERO) && self.guarded.lifetimes().is_some() {
            let legal = "False in a cache with a constructor or destructor, whose objects keep what it wrote";
            let text = format!("cache '{}': zero = True is not legal: {legal}", self.name);
            return Err(errors::error(py, Kind::BadArgument, text));
        }
        Ok(())
    }

    /// One object, after the short way was barred, or of a node's memory.
    #[cold]
    pub(crate) fn alloc_gated(&self, py: Python<'_>, flags: AllocFlags, node: Option<u32>) -> PyResult<NonNull<u8>> {
        self.check_alloc(py, flags)?;
        let found = self.guarded.alloc_gated(py, flags, node).map_err(|gone| self.gone(py, gone))?;
        found.map_err(|why| self.no_object(py, 1, why))
    }

    /// The error after the core had no object: what a constructor raised, or memory that is not to be had.
    #[cold]
    pub(crate) fn no_object(&self, py: Python<'_>, objects: usize, why: NoObject) -> PyErr {
        match why.0.map(|failed| failed.0.downcast::<PyErr>()) {
            None => self.out_of_memory(py, objects),
            Some(Ok(raised)) => *raised,
            Some(Err(other)) => match other.downcast::<Error>() {
                Ok(error) => errors::from_core(py, *error),
                Err(_) => self.out_of_memory(py, objects),
            },
        }
    }

    /// What is said of a cache that has lost its callbacks.
    #[cold]
    pub(crate) fn abandoned(&self, py: Python<'_>) -> PyErr {
        let text = format!(
            "cache '{}': the garbage collector found it with an object that memoryviews or arrays look into: its destructors are not \
             called",
            self.name
        );
        errors::error(py, Kind::ObjectInUse, text)
    }

    /// The error after there was no wrapper: see `object/shells.rs`.
    #[cold]
    pub(crate) fn no_wrapper(&self, py: Python<'_>, objects: usize) -> PyErr {
        self.check_alloc(py, AllocFlags::empty()).err().unwrap_or_else(|| self.out_of_memory(py, objects))
    }

    /// The error for memory that is not to be had.
    #[cold]
    pub(crate) fn out_of_memory(&self, py: Python<'_>, objects: usize) -> PyErr {
        let text =
            format!("cache '{}': out of memory for {objects} object(s) of {} bytes", self.name, self.object_size);
        errors::error(py, Kind::OutOfMemory, text)
    }
}
