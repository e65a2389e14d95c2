//! Where caches come from, and which CPU a thread works on.
#![forbid(unsafe_code)]

use super::constructed::STATE;
use super::heap::Heap;
use super::no_cache::NoCache;
use super::rng::Rng;
use super::site::Site;
use crate::oracle::Subject;
use haybarn::DtorMode;

/// A cache that a scenario asks for.
#[derive(Clone, Copy, Debug)]
pub struct CacheSpec {
    /// Bytes of an object.
    pub size: usize,
    /// Alignment in bytes; 0 for the allocator's own choice.
    pub align: usize,
    /// Count every hit of the fast path; on `rseq` that is another set of sequences, so scenarios use both.
    pub count_hits: bool,
    /// Watch only the first [`CacheSpec::LIGHT`] bytes of each object: less is seen, but threads spend their time in the allocator.
    pub light: bool,
    /// `TYPESAFE_BY_RCU`, with the free pointer at this offset.
    pub type_safe: Option<usize>,
    /// Share slabs with others that ask for the same, as the allocator sees fit.
    pub merges: bool,
    /// Construct the objects once per slab; where their destructors run.
    pub construct: Option<DtorMode>,
    /// In an arena with so many nodes; 0 for the run's own.
    pub nodes: u32,
    /// Without sheaves: each object comes from its slab and goes there.
    pub bare: bool,
}

impl CacheSpec {
    /// Bytes of an object that are watched where only a part is.
    pub const LIGHT: usize = 16;

    /// Objects of `size` bytes, hits not counted.
    #[must_use]
    pub const fn plain(size: usize) -> Self {
        Self {
            size,
            align: 0,
            count_hits: false,
            light: false,
            type_safe: None,
            merges: false,
            construct: None,
            nodes: 0,
            bare: false,
        }
    }

    /// Objects of `size` bytes, hits counted.
    #[must_use]
    pub const fn counted(size: usize) -> Self {
        Self { count_hits: true, ..Self::plain(size) }
    }

    /// The same on addresses that are multiples of `align` bytes.
    #[must_use]
    pub const fn aligned(self, align: usize) -> Self {
        Self { align, ..self }
    }

    /// The same, type-safe by RCU; the free pointer of a free object is `freeptr_offset` bytes into it.
    #[must_use]
    pub const fn type_safe(self, freeptr_offset: usize) -> Self {
        Self { type_safe: Some(freeptr_offset), ..self }
    }

    /// The same, with slabs that others may share.
    #[must_use]
    pub const fn merging(self) -> Self {
        Self { merges: true, ..self }
    }

    /// The same, watched lightly.
    #[must_use]
    pub const fn light(self) -> Self {
        Self { light: true, ..self }
    }

    /// The same, without sheaves.
    #[must_use]
    pub const fn bare(self) -> Self {
        Self { bare: true, ..self }
    }

    /// The same, constructed once per slab.
    #[must_use]
    pub const fn constructed(self, mode: DtorMode) -> Self {
        Self { construct: Some(mode), ..self }
    }

    /// The same on `nodes` nodes, on every backend.
    #[must_use]
    pub const fn on_nodes(self, nodes: u32) -> Self {
        Self { nodes, ..self }
    }

    /// Bytes of each object that are watched.
    #[must_use]
    pub fn watched_bytes(&self) -> usize {
        let owners = if self.construct.is_some() { self.size - STATE } else { self.size };
        if self.light { owners.min(Self::LIGHT) } else { owners }
    }
}

/// An allocator under test.
pub trait Field: Send + Sync {
    /// The name of the CPU backend, as in the table of required counters.
    fn backend(&self) -> &str;

    /// A new cache. Names are made unique by the field.
    ///
    /// # Errors
    /// Why the allocator would not make it.
    fn cache(&self, label: &str, spec: CacheSpec) -> Result<Box<dyn Subject>, NoCache>;

    /// New storage for a cache. Names are made unique by the field.
    fn site(&self, label: &str, spec: CacheSpec) -> Box<dyn Site>;

    /// Memory by size. The names of what is its alone are made unique by the field.
    ///
    /// # Errors
    /// Why the allocator would not make it.
    fn heap(&self, label: &str) -> Result<Box<dyn Heap>, NoCache>;

    /// The calling thread is number `thread` of a run.
    fn enter(&self, thread: u32);

    /// Moves the calling thread to another CPU where that is possible, so that what it has begun meets another CPU's structures.
    fn hop(&self, rng: &mut Rng);
}
