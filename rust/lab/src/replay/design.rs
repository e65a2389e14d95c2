//! What a replay runs on: one file and one implementation per design.

#![forbid(unsafe_code)]

use super::block::Block;
use super::plan::PlannedObject;
use serde::Serialize;

/// The deepest level that an allocation touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// A sheaf of the CPU.
    Sheaf,
    /// A full sheaf of the node's barn.
    Barn,
    /// Partial slabs.
    Partial,
    /// A new slab.
    NewSlab,
    /// A page run of its own.
    PageRun,
}

impl Served {
    /// Levels in the order of their numbers.
    pub const COUNT: usize = 5;
}

/// Memory that a cache holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Slabs, or page runs.
    pub slabs: u64,
    /// Bytes of their pages.
    pub bytes: u64,
}

/// How a cache came out, for the report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Made {
    /// Bytes of an object.
    pub object_size: u64,
    /// The stride in bytes.
    pub slab_size: u64,
    /// Pages of a slab: `1 << order`.
    pub order: u8,
    /// Objects of a slab.
    pub objs_per_slab: u32,
    /// Objects of a sheaf.
    pub sheaf_capacity: u32,
}

/// An allocator design that can run a plan. Called from many threads at once.
pub trait Design: Sync {
    /// Allocates and stamps object number `id`. `None`: out of memory. The level is `None` where the design has none.
    fn alloc(&self, object: &PlannedObject, id: u32) -> Option<(Block, Option<Served>)>;

    /// Frees an object of `cache`.
    fn free(&self, cache: u32, block: Block);

    /// Alignment that objects of `cache` must have, in bytes.
    fn align(&self, cache: u32) -> usize;

    /// What `cache` holds now; `None` where the design cannot say.
    fn usage(&self, cache: u32) -> Option<Usage>;

    /// How `cache` came out; `None` where the design has no such numbers.
    fn made(&self, cache: u32) -> Option<Made>;

    /// Counters of `cache`, by name; empty where the design has none.
    fn counters(&self, cache: u32) -> Vec<(&'static str, u64)>;

    /// Ends the run with every object freed: checks and destroys the caches. What is wrong comes back as text.
    fn finish(&self) -> Vec<String>;
}
