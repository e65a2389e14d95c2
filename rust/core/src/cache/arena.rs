//! The arena: one range of pages, the caches that live in it, and the choices made when it started.
#![forbid(unsafe_code)]

use super::at_fork;
use super::choose_nodes::{self, Chosen};
use super::environment::{bad, variable};
use super::registry::{Registry, lock};
use crate::error::Error;
use crate::inject;
use crate::os;
use crate::pages::{BlockPool, FailSwitch, NodeId, PAGE_SIZE, Pages, PagesConfig, Source};
use crate::percpu::{BackendKind, Cpu, Flagged, MAX_CPUS, choose};
use crate::sheaf::Shape;
use crate::slab::geometry::default_cpus;
use crate::sync::{Form, Published};
use std::sync::{Mutex, MutexGuard, OnceLock};

/// How an arena is made.
#[derive(Clone, Debug)]
pub struct ArenaConfig {
    /// The CPU backend; `None` takes `HAYBARN_BACKEND`, else the best there is. Forced but not to be had is an error.
    pub backend: Option<BackendKind>,
    /// CPUs of a `virtual` arena, 1 to 1024; `None` is as many as the machine has. An error on other backends.
    pub cpus: Option<u32>,
    /// Fake nodes, 1 to 64. 0: as many as `HAYBARN_FAKE_NODES` says, else the machine's own, or one on `virtual`. CPU c is on
    /// fake node c modulo `nodes`, or on `virtual` on node c * nodes / cpus.
    pub nodes: u32,
    /// Where pages come from.
    pub source: Source,
    /// Form of the doublewords; `None` is the best that the CPU has.
    pub form: Option<Form>,
    /// Bytes of address range to reserve; 0 is 256 GiB, or what limits allow.
    pub reserve: usize,
    /// Least order of every slab (slab_min_order), 0 to 9.
    pub min_order: u8,
    /// No cache shares its storage (slab_nomerge). `HAYBARN_NOMERGE=1` says so for every arena.
    pub no_merge: bool,
}

impl Default for ArenaConfig {
    fn default() -> Self {
        Self {
            backend: None,
            cpus: None,
            nodes: 0,
            source: Source::Anonymous,
            form: None,
            reserve: 0,
            min_order: 0,
            no_merge: false,
        }
    }
}

/// How many caches an arena keeps for the layer above: the size classes of kmalloc.
pub(crate) const KEPT: usize = 13;

const SHEAF_BLOCKS: usize = 8;
const MIN_BLOCK_LOG2: u32 = 6;

/// A place for caches and their pages. It is never unmapped, so every arena lives as long as the process.
pub struct Arena {
    pub(super) pages: Pages,
    pub(super) form: Form,
    pub(super) kind: BackendKind,
    pub(super) why: String,
    pub(super) flagged: Flagged,
    /// CPUs that the backend may name.
    pub(super) cpus: u32,
    /// Slots of each cache: for the CPUs above, and for every CPU on which a sequence may run to find that it misses.
    pub(super) slots: u32,
    pub(super) nodes: u32,
    pub(super) node_of: Vec<u8>,
    /// For each node the others, nearest first.
    pub(super) others: Vec<Vec<u8>>,
    pub(super) nodes_why: String,
    pub(super) min_order: u8,
    pub(super) no_merge: bool,
    pub(super) descriptors: BlockPool,
    sheaves: [BlockPool; SHEAF_BLOCKS],
    registry: Mutex<Registry>,
    /// Addresses of CPU 0's slots of the caches that are kept for the layer above; 0 where one has not been made.
    pub(super) kept: [Published; KEPT],
}

fn from_environment() -> Result<Option<BackendKind>, Error> {
    let legal = "rseq, locked or virtual";
    let name = variable("HAYBARN_BACKEND", legal)?;
    name.map(|name| name.parse().map_err(|_| bad("HAYBARN_BACKEND", name, legal))).transpose()
}

fn min_order_from_environment() -> Result<u8, Error> {
    let legal = "0 to 9";
    let order = variable("HAYBARN_MIN_ORDER", legal)?;
    order.map_or(Ok(0), |order| order.parse().map_err(|_| bad("HAYBARN_MIN_ORDER", order, legal)))
}

fn no_merge_from_environment() -> Result<bool, Error> {
    let legal = "0 or 1";
    let off = variable("HAYBARN_NOMERGE", legal)?;
    match off.as_deref() {
        None | Some("0") => Ok(false),
        Some("1") => Ok(true),
        Some(other) => Err(bad("HAYBARN_NOMERGE", other, legal)),
    }
}

impl Arena {
    /// The arena of the process, made at first use. `HAYBARN_BACKEND` forces a backend, `HAYBARN_MIN_ORDER` (0 to 9) sets the
    /// least order of all slabs, as Linux's boot option slab_min_order does, `HAYBARN_NOMERGE=1` keeps caches apart, as slab_nomerge.
    ///
    /// # Errors
    /// The error of its making, the same at every call.
    pub fn global() -> Result<&'static Self, Error> {
        static GLOBAL: OnceLock<Result<&'static Arena, Error>> = OnceLock::new();
        if let Some(made) = GLOBAL.get() {
            return made.clone();
        }
        at_fork::watch();
        let _no_fork = at_fork::making();
        let make = || Self::make(ArenaConfig { min_order: min_order_from_environment()?, ..ArenaConfig::default() });
        GLOBAL.get_or_init(make).clone()
    }

    /// Makes an arena beside the global one: for tests, replays and simulations.
    ///
    /// # Errors
    /// [`Error::BadArgument`] for a value out of range, [`Error::Unavailable`] for a backend that is forced but not there, for an
    /// address range that the system refuses, and for pages of another size than 4096 bytes.
    pub fn create(config: ArenaConfig) -> Result<&'static Self, Error> {
        at_fork::watch();
        let _no_fork = at_fork::making();
        Self::make(config)
    }

    fn make(config: ArenaConfig) -> Result<&'static Self, Error> {
        inject::start_from_environment()?;
        let no_merge = config.no_merge || no_merge_from_environment()?;
        let choice = choose(config.backend.map_or_else(from_environment, |kind| Ok(Some(kind)))?)?;
        let is_virtual = choice.kind == BackendKind::Virtual;
        if !is_virtual && config.cpus.is_some() {
            return Err(bad("cpus", "given", "only the virtual backend takes them; the others ask the system"));
        }
        let possible = os::possible_cpus();
        let cpus = config.cpus.unwrap_or(possible);
        if is_virtual && !(1..=1024).contains(&cpus) {
            return Err(bad("cpus", cpus, "1 to 1024"));
        }
        // A CPU that nobody announced finds a slot on which everything misses.
        let unannounced = if os::topology::possible_cpus_are_known() { 0 } else { MAX_CPUS as u32 };
        let slots = cpus.max(possible).max(unannounced);
        let Chosen { nodes: found, why: nodes_why, real } =
            choose_nodes::choose(config.nodes, is_virtual, cpus, slots)?;
        let nodes = found.count;
        if config.min_order > 9 {
            return Err(bad("min_order", config.min_order, "0 to 9"));
        }
        let form = config.form.unwrap_or_else(Form::detect);
        if form == Form::Double && Form::detect() == Form::Packed {
            return Err(Error::Unavailable { what: "form double".to_owned(), why: "no 128-bit swap".to_owned() });
        }
        if os::page_size() != PAGE_SIZE {
            // Giving back one of our pages would take its neighbours with it.
            let why = format!("the system's pages have {} bytes", os::page_size());
            return Err(Error::Unavailable { what: format!("an arena of {PAGE_SIZE}-byte pages"), why });
        }
        let pages = Pages::new(&PagesConfig { source: config.source, reserve: config.reserve, form, cpus, nodes })
            .map_err(|error| Error::Unavailable { what: "address range".to_owned(), why: error.to_string() })?;
        let nodes_why = if real && nodes > 1 { choose_nodes::bind(&pages) } else { nodes_why };
        let arena: &'static Self = Box::leak(Box::new(Self {
            descriptors: BlockPool::new(form, 64),
            sheaves: core::array::from_fn(|class| BlockPool::new(form, 64 << class)),
            registry: Mutex::new(Registry::default()),
            kept: core::array::from_fn(|_| Published::new(0)),
            flagged: if is_virtual { Flagged::Named(cpus) } else { Flagged::System(cpus) },
            slots,
            kind: choice.kind,
            why: choice.why,
            min_order: config.min_order,
            no_merge,
            pages,
            form,
            cpus,
            nodes,
            node_of: found.of_cpu,
            others: found.others,
            nodes_why,
        }));
        at_fork::add(&arena.registry);
        Ok(arena)
    }

    /// The CPU backend in use.
    #[must_use]
    pub fn backend(&self) -> BackendKind {
        self.kind
    }

    /// CPUs that caches of this arena have sheaves for.
    #[must_use]
    pub fn cpus(&self) -> u32 {
        self.cpus
    }

    /// Gives free pages that were touched back to the system; returns bytes. Safe at any time, meant for quiet moments.
    pub fn trim(&self) -> usize {
        self.pages.trim()
    }

    /// The CPU count that geometry assumes: present CPUs as Linux does, or the virtual ones.
    pub(super) fn geometry_cpus(&self) -> u32 {
        match self.kind {
            BackendKind::Virtual => self.cpus,
            _ => default_cpus(os::present_cpus(), os::possible_cpus()),
        }
    }

    pub(super) fn node_of(&self, cpu: Cpu) -> NodeId {
        NodeId(self.node_of.get(cpu as usize).copied().unwrap_or(0))
    }

    pub(super) fn sheaf_pool(&self, shape: Shape) -> &BlockPool {
        &self.sheaves[(shape.block.ilog2() - MIN_BLOCK_LOG2) as usize]
    }

    pub(super) fn registry(&self) -> MutexGuard<'_, Registry> {
        lock(&self.registry)
    }
}

impl core::fmt::Debug for Arena {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Arena").field("backend", &self.kind).field("cpus", &self.cpus).finish_non_exhaustive()
    }
}

/// A source that fails on demand, for tests of this crate and of the lab.
#[must_use]
pub fn failing_source() -> (Source, FailSwitch) {
    let switch = FailSwitch::new();
    (Source::Failing(switch.clone()), switch)
}
