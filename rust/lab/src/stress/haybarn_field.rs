//! haybarn itself as the allocator under test: raw caches in an arena of their own.

use super::constructed::Construction;
use super::field::{CacheSpec, Field};
use super::haybarn_counters::stat;
use super::haybarn_heap::HaybarnHeap;
use super::haybarn_site::HaybarnSite;
use super::heap::Heap;
use super::no_cache::NoCache;
use super::platform;
use super::rng::Rng;
use super::site::Site;
use crate::oracle::subject::{ByNode, Constructed, Counter, Deferred, Handlers, Identity, Sharing};
use crate::oracle::{Aside, Census, Counters, Subject};
use crossbeam_utils::atomic::AtomicCell;
use haybarn::{
    AllocFlags, Arena, ArenaConfig, BackendKind, CacheArgs, CacheName, CacheStats, CacheStorage, Error, Form, RawCache,
    RawPrefilled, SlabFlags, Stat,
};
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

/// An arena for a campaign and the CPUs that its threads may use.
pub struct HaybarnField {
    arena: &'static Arena,
    config: ArenaConfig,
    /// Arenas with other numbers of nodes.
    others: Mutex<Vec<&'static Arena>>,
    backend: String,
    virtual_cpus: Option<u32>,
    allowed: Vec<usize>,
    made: AtomicCell<u64>,
}

/// Why there is no field.
#[derive(Debug, thiserror::Error)]
pub enum FieldError {
    /// No backend has that name.
    #[error("backend: {0:?} is not one of rseq, locked, virtual")]
    NoSuchBackend(String),
    /// No form has that name.
    #[error("form: {0:?} is not double or packed")]
    NoSuchForm(String),
    /// A fault of the environment or of the caller: what it makes fail would be taken for violations.
    #[error("a fault is on, end it and ask stress to inject failures instead: {0}")]
    Faulty(String),
    /// The backend is not to be had on this machine, or the arena not in this process.
    #[error(transparent)]
    Arena(#[from] Error),
}

impl HaybarnField {
    /// A new arena on `backend`; without one on what `HAYBARN_BACKEND` names, or else on the best. On `virtual` it has half as many
    /// CPUs as `threads` (at least 2) on 2 nodes, so that threads meet on a CPU's try-flag and free objects of the other node.
    /// Its words that change by one swap have the form `form`, "double" or "packed", or where that is none the best.
    ///
    /// # Errors
    /// No such backend or form, or not to be had; or failures are injected already.
    pub fn new(backend: Option<&str>, threads: u32, form: Option<&str>) -> Result<Self, FieldError> {
        let named = backend
            .map(str::to_owned)
            .or_else(|| std::env::var("HAYBARN_BACKEND").ok().filter(|name| !name.is_empty()));
        let kind = match named {
            Some(name) => Some(name.parse::<BackendKind>().map_err(|_| FieldError::NoSuchBackend(name))?),
            None => None,
        };
        let form = match form {
            Some("double") => Some(Form::Double),
            Some("packed") => Some(Form::Packed),
            Some(other) => return Err(FieldError::NoSuchForm(other.to_owned())),
            None => None,
        };
        let virtual_cpus = threads.div_ceil(2).max(2);
        let mut config = ArenaConfig { backend: kind, form, ..ArenaConfig::default() };
        if kind == Some(BackendKind::Virtual) {
            config.cpus = Some(virtual_cpus);
            config.nodes = 2;
        }
        let arena = Arena::create(config.clone())?;
        if let Some(fault) = haybarn::fault::active().first() {
            return Err(FieldError::Faulty(fault.to_string()));
        }
        let backend = arena.backend();
        let virtual_cpus = (backend == BackendKind::Virtual).then(|| arena.cpus());
        let allowed = platform::allowed_cpus();
        Ok(Self {
            arena,
            config,
            others: Mutex::default(),
            backend: backend.to_string(),
            virtual_cpus,
            allowed,
            made: AtomicCell::new(0),
        })
    }
}

impl HaybarnField {
    /// The arena with so many nodes, like the run's own in everything else.
    fn arena_on(&self, nodes: u32) -> Result<&'static Arena, Error> {
        if nodes == 0 {
            return Ok(self.arena);
        }
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(arena) = others.iter().find(|arena| arena.nodes() == nodes) {
            return Ok(arena);
        }
        let arena = Arena::create(ArenaConfig { nodes, ..self.config.clone() })?;
        others.push(arena);
        Ok(arena)
    }
}

impl Field for HaybarnField {
    fn backend(&self) -> &str {
        &self.backend
    }

    fn cache(&self, label: &str, spec: CacheSpec) -> Result<Box<dyn Subject>, NoCache> {
        let name = format!("stress-{label}-{}-{}", spec.size, self.made.fetch_add(1));
        let type_safe = if spec.type_safe.is_some() { SlabFlags::TYPESAFE_BY_RCU } else { SlabFlags::empty() };
        let bare = if spec.bare { SlabFlags::NOLEAKTRACE } else { SlabFlags::empty() };
        let args = CacheArgs {
            align: spec.align,
            flags: if spec.merges { type_safe } else { SlabFlags::NO_MERGE | type_safe | bare },
            freeptr_offset: spec.type_safe,
            count_hits: spec.count_hits,
            ..CacheArgs::default()
        };
        let no_cache = |error: Error| match error {
            Error::OutOfMemory { .. } => NoCache::OutOfMemory(error.to_string()),
            _ => NoCache::Refused(error.to_string()),
        };
        let arena = self.arena_on(spec.nodes).map_err(no_cache)?;
        let construction = spec.construct.map(|_| Construction::new(arena, &name, spec.size)).transpose();
        let construction = construction.map_err(no_cache)?;
        let args = match (&construction, spec.construct) {
            (Some(construction), Some(mode)) => construction.args(mode, args),
            _ => args,
        };
        let made = CacheName::create(arena, &name, spec.size, &args).map_err(no_cache)?;
        // SAFETY: used by the subject alone, whose users promise not to use it after its end.
        let cache = unsafe { made.raw() };
        Ok(Box::new(HaybarnCache::of(cache, name, spec, construction, Ends::Name(made))))
    }

    fn site(&self, label: &str, spec: CacheSpec) -> Box<dyn Site> {
        let name = format!("stress-{label}-{}-{}", spec.size, self.made.fetch_add(1));
        Box::new(HaybarnSite::new(self.arena, name, spec, |cache, name, spec, storage| {
            Box::new(HaybarnCache::of(cache, name, spec, None, Ends::Storage(storage)))
        }))
    }

    fn heap(&self, label: &str) -> Result<Box<dyn Heap>, NoCache> {
        let prefix = format!("stress-{label}-{}", self.made.fetch_add(1));
        Ok(Box::new(HaybarnHeap::new(self.arena, prefix)?))
    }

    fn enter(&self, thread: u32) {
        if let Some(cpus) = self.virtual_cpus {
            haybarn::set_virtual_cpu(Some(thread % cpus));
        }
    }

    fn hop(&self, rng: &mut Rng) {
        if self.virtual_cpus.is_some() || self.allowed.is_empty() {
            std::thread::yield_now();
        } else {
            platform::move_to(self.allowed[rng.below(self.allowed.len())]);
        }
    }
}

struct HaybarnCache {
    cache: RawCache,
    name: String,
    size: usize,
    align: usize,
    counts_hits: bool,
    construction: Option<Construction>,
    ends: Ends,
}

/// What ends the cache.
enum Ends {
    /// Its name.
    Name(CacheName),
    /// Where it lies, which was chosen beforehand.
    Storage(&'static CacheStorage),
}

impl HaybarnCache {
    fn of(cache: RawCache, name: String, spec: CacheSpec, construction: Option<Construction>, ends: Ends) -> Self {
        let align = cache.info().align.max(spec.align);
        Self { cache, name, size: spec.size, align, counts_hits: spec.count_hits, construction, ends }
    }

    /// The kernel specification's conservation identities, as far as the cache's counters reach.
    fn identities(&self, stats: &CacheStats) -> Vec<Identity> {
        let net = |come: &[Stat], gone: &[Stat]| {
            let sum = |of: &[Stat]| of.iter().map(|stat| stats.get(*stat)).fold(0, u64::wrapping_add);
            sum(come).wrapping_sub(sum(gone))
        };
        let slabs = net(&[Stat::AllocSlab], &[Stat::FreeSlab, Stat::ShrinkSlab]);
        let mut identities = vec![Identity { what: "slabs held", there: stats.slabs, counted: slabs }];
        if self.cache.info().flags.contains(SlabFlags::TYPESAFE_BY_RCU) {
            let counted = net(&[Stat::FreeSlab, Stat::ShrinkSlab], &[Stat::ReapSlab]);
            identities.push(Identity { what: "dead slabs that wait", there: stats.dead_slabs, counted });
        }
        // A census is taken when nothing is out: each sheaf that went has come back under one counter.
        let went = net(&[Stat::SheafPrefillFast, Stat::SheafPrefillSlow, Stat::SheafPrefillOversize], &[]);
        let came = net(&[Stat::SheafReturnFast, Stat::SheafReturnSlow, Stat::SheafReturnOversize], &[]);
        identities.push(Identity { what: "prefilled sheaves", there: came, counted: went });
        let set_aside = stats.get(Stat::SheafPrefillObjects);
        let gone = net(&[Stat::AllocPrefilled, Stat::SheafReturnObjects], &[]);
        identities.push(Identity { what: "objects of prefilled sheaves", there: gone, counted: set_aside });
        if self.counts_hits {
            let come = [Stat::SheafRefill, Stat::FreeFastpath, Stat::FreeRcuDone];
            let counted = net(&come, &[Stat::SheafFlush, Stat::AllocFastpath, Stat::AllocPrefilled]);
            let there = stats.in_sheaves + stats.in_prefilled;
            identities.push(Identity { what: "objects in sheaves", there, counted });
        }
        for (node, part) in (0..).zip(&stats.nodes) {
            // A census is taken when everything has come back: what is not free in a slab of the node is in a sheaf.
            let found = self.cache.objects_of_node(node);
            let (there, counted) = (part.total_objects, found.free + found.in_sheaves);
            identities.push(Identity { what: "objects of a node", there, counted });
        }
        identities.extend(self.construction.iter().flat_map(|construction| construction.identities(stats)));
        identities
    }
}

impl Subject for HaybarnCache {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> usize {
        self.size
    }

    fn align(&self) -> usize {
        self.align
    }

    fn alloc(&self, zero: bool) -> Option<NonNull<u8>> {
        let flags = if zero { AllocFlags::ZERO } else { AllocFlags::empty() };
        if self.counts_hits { self.cache.alloc_counted(flags) } else { self.cache.alloc(flags) }
    }

    unsafe fn free(&self, object: NonNull<u8>) {
        // SAFETY: the caller's promise is the callee's condition.
        unsafe {
            if self.counts_hits {
                self.cache.free_counted(object);
            } else {
                self.cache.free(object);
            }
        }
    }

    fn alloc_bulk(&self, out: &mut [*mut u8]) -> bool {
        self.cache.alloc_bulk(AllocFlags::empty(), out)
    }

    unsafe fn free_bulk(&self, objects: &mut [*mut u8]) {
        // SAFETY: the caller's promise is the callee's condition.
        unsafe { self.cache.free_bulk(objects) }
    }

    fn prefill(&self, n: usize) -> Option<Box<dyn Aside + '_>> {
        let sheaf = self.cache.prefill(AllocFlags::empty(), n).ok()?;
        Some(Box::new(Prefilled(sheaf)))
    }

    fn check(&self, object: NonNull<u8>) -> Result<(), String> {
        self.cache.check(object.as_ptr()).map(|_| ()).map_err(|error| error.to_string())
    }

    fn shrink(&self) -> u64 {
        self.cache.shrink()
    }

    fn census(&self) -> Census {
        // A dead slab in the service thread's hands would be counted here, there, or twice.
        while self.cache.dead_slabs() > 0 && self.cache.info().flags.contains(SlabFlags::TYPESAFE_BY_RCU) {
            if self.cache.reap() == 0 {
                std::thread::yield_now();
            }
        }
        if let Some(construction) = &self.construction {
            construction.settle(self.cache);
        }
        let stats = self.cache.stats();
        let hits = self.counts_hits.then(|| {
            let taken = [Stat::AllocFastpath, Stat::AllocSlowpath, Stat::AllocPrefilled];
            let allocs = taken.iter().map(|&stat| stats.get(stat)).sum();
            let by_rcu = stats.get(Stat::FreeRcuSheaf) + stats.get(Stat::FreeRcuSheafFail);
            (allocs, stats.get(Stat::FreeFastpath) + stats.get(Stat::FreeSlowpath) + by_rcu)
        });
        let queued = self.construction.as_ref().map_or(0, Construction::queued);
        let counters = Counters::read(|counter| match counter {
            Counter::QueuedFree => queued + stats.get(Stat::FreeQueued),
            _ => stat(counter).map_or(0, |stat| stats.get(stat)),
        });
        Census { objects: stats.objects, slabs: stats.slabs, identities: self.identities(&stats), hits, counters }
    }

    fn validate(&self) -> Result<(), String> {
        self.cache.validate().map_err(|error| error.to_string())
    }

    fn constructed(&self) -> Option<&dyn Constructed> {
        self.construction.as_ref().map(|construction| construction as &dyn Constructed)
    }

    fn handlers(&self) -> Option<&dyn Handlers> {
        Some(&self.cache)
    }

    fn reap(&self) {
        self.cache.reap();
    }

    fn deferred(&self) -> Option<&dyn Deferred> {
        Some(self)
    }

    fn by_node(&self) -> Option<&dyn ByNode> {
        Some(self)
    }

    fn sharing(&self) -> Option<Sharing> {
        let Ends::Name(name) = &self.ends else { return None };
        Some(Sharing { primary: name.primary()?, others: name.aliases().len(), storage: name.storage_id() })
    }

    unsafe fn destroy(&self) -> Result<(), String> {
        // SAFETY: the caller's promise is the callee's condition; the parts are the cache's alone.
        unsafe {
            let ended = match &self.ends {
                Ends::Name(name) => name.destroy(),
                Ends::Storage(storage) => storage.destroy(),
            };
            ended.map_err(|error| error.to_string())?;
            self.construction.as_ref().map_or(Ok(()), |construction| construction.end())
        }
    }
}

struct Prefilled(RawPrefilled);

impl Aside for Prefilled {
    fn alloc(&mut self, zero: bool) -> Option<NonNull<u8>> {
        self.0.alloc(if zero { AllocFlags::ZERO } else { AllocFlags::empty() })
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn refill(&mut self, n: usize) -> bool {
        self.0.refill(AllocFlags::empty(), n).is_ok()
    }
}

impl ByNode for HaybarnCache {
    fn nodes(&self) -> u32 {
        self.cache.arena().nodes()
    }

    fn alloc(&self, node: u32, strict: bool) -> Option<NonNull<u8>> {
        self.cache.alloc_node(if strict { AllocFlags::THISNODE } else { AllocFlags::empty() }, node)
    }

    fn node_of(&self, object: NonNull<u8>) -> Result<u32, String> {
        self.cache.node_of(object.as_ptr()).map_err(|error| error.to_string())
    }
}

impl Deferred for HaybarnCache {
    unsafe fn free_rcu(&self, object: NonNull<u8>) -> bool {
        // SAFETY: the caller's promise is the callee's condition.
        unsafe { self.cache.free_rcu(object) }.is_ok()
    }

    unsafe fn free_rcu_bulk(&self, objects: &mut [*mut u8]) -> bool {
        // SAFETY: the caller's promise is the callee's condition.
        unsafe { self.cache.free_rcu_bulk(objects) }.is_ok()
    }

    fn barrier(&self) {
        self.cache.rcu_barrier().expect("outside of read sections");
    }

    fn pending(&self) -> u64 {
        self.cache.rcu_pending()
    }
}
