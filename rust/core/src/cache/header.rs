//! A cache's memory: one block of metadata that a handle points into.
//!
//! ```text
//! | header | slot of CPU -2, -1 | slots, one line per CPU | counters of CPU -2, -1 | per CPU | per-node slabs and barn |
//!                                ^ what a handle points to
//! ```

use super::arena::Arena;
use super::attributes::Calls;
use super::cleared::Cleared;
use super::hooks::{DtorMode, Hooks};
use super::rcu_lists::RcuLists;
use super::reapers::Reapers;
use crate::pages::NodeId;
use crate::percpu::{Backend, BackendKind, Cpu, DrainIntent, NEGATIVE_SLOTS, Pair, Slot, Slots, seq};
use crate::sheaf::{Barn, Shape, full_limit};
use crate::slab::NodeSlabs;
use crate::slab::flags::SlabFlags;
use crate::slab::geometry::Geometry;
use crate::stats::Stat;
use crate::sync::{Counter, Form, Gong};
use std::sync::Arc;

/// Longest name in bytes.
pub(super) const MAX_NAME: usize = 127;

/// What is written once, at creation; but for counters and lists.
#[repr(C, align(64))]
pub(crate) struct Cache {
    /// CPU 0's slot. Kept as a pointer, not computed from `&self`: a shared reference to the header gives no right to write
    /// behind it, and the compiler makes use of that.
    slots: Slots,
    /// CPU 0's counters, and node 0's slabs and barn: where they lie is known from `slots`, but slow paths look there often.
    cpu_areas: *mut CpuArea,
    node_areas: *mut NodeArea,
    pub arena: &'static Arena,
    pub backend: Backend,
    pub geometry: Geometry,
    pub shape: Shape,
    pub flags: SlabFlags,
    pub id: u16,
    /// Full sheaves after which a free flushes.
    pub full_limit: u64,
    /// Whether counters are bumped by restartable sequences (`rseq`) or by atomic instructions.
    pub adds_by_sequence: bool,
    /// Whether the hits of the inlined paths are in the counters.
    pub counts_hits: bool,
    /// 1 while a fault is about the cache's objects: its slots are parked and each allocation asks; see `park`.
    pub parked: Counter,
    /// Wholly free slabs that each node keeps; geometry's until somebody changes it.
    pub min_partial: Counter,
    /// Counters that were cleared, as far as they are shown. Dropped by who ends the cache.
    pub cleared: Cleared,
    /// Rung from a slow path on the cache until a look that finds nothing in its CPUs' sheaves; see `idle`.
    pub in_use: Gong,
    /// Ten times `remote_node_defrag_ratio`.
    pub defrag_ratio: Counter,
    /// Free pointer encoding: stored = next ^ cookie ^ (swapped address & swap_mask). Both 0 when off.
    pub cookie: u64,
    pub swap_mask: u64,
    /// Whether dead slabs go to the graveyard before their pages go.
    pub defers_death: bool,
    /// Who is at work in the graveyard.
    pub reapers: Reapers,
    /// Rung where a walk over all caches has killed slabs, until somebody has seen to them; see `undertaker`.
    pub unsettled: Gong,
    /// Constructor and destructor of the objects. Dropped by who ends the cache.
    pub hooks: Option<Arc<dyn Hooks>>,
    /// Whether there are destructors to run.
    pub has_dtor: bool,
    pub dtor_mode: DtorMode,
    /// Bytes of the objects of its largest name, which ZERO clears.
    pub object_bytes: Counter,
    /// What its names counted that have ended since.
    pub departed: Calls,
    /// Who looks at the cache without having made it.
    pub pins: Reapers,
    /// Sheaves of `free_rcu`.
    pub rcu: RcuLists,
    name: [u8; MAX_NAME + 1],
}

/// One CPU's counters, away from its slot's line, and what a drain of the slot has taken so far. A power of two of bytes,
/// so that a sequence finds the CPU's counter by a shift.
#[repr(C, align(512))]
pub(super) struct CpuArea {
    pub intent: Pair,
    /// What the last look at the slot found; see `idle`.
    pub seen: Counter,
    pub stats: [Counter; Stat::ALL.len()],
}

const _: () = assert!(size_of::<CpuArea>() == 1 << seq::AREA_SHIFT);

/// One node's slabs and sheaves.
#[repr(C, align(64))]
pub(super) struct NodeArea {
    pub slabs: NodeSlabs,
    pub barn: Barn,
    /// Cursor of the loose batch of `free_rcu` that is being filled, 0 for none. Who changes it has the line locked.
    pub loose: Counter,
    /// How often a refill of this node found its partial slabs used up.
    pub tries: Counter,
}

/// Bytes from the block's start to CPU 0's slot.
pub(super) const SLOTS_AT: usize = size_of::<Cache>() + NEGATIVE_SLOTS * size_of::<Slot>();

/// The areas lie at addresses that are multiples of their size, so the block must.
pub(super) const BLOCK_ALIGN: usize = align_of::<CpuArea>();

/// Bytes of a cache's block in an arena with so many slots and nodes.
pub(super) fn block_bytes(slots: u32, nodes: u32) -> usize {
    let slots = slots as usize;
    (SLOTS_AT + slots * size_of::<Slot>()).next_multiple_of(align_of::<CpuArea>())
        + (NEGATIVE_SLOTS + slots) * size_of::<CpuArea>()
        + nodes as usize * size_of::<NodeArea>()
}

impl Cache {
    /// A header for the block at `block`, with `name`, which the caller checked for length.
    #[allow(clippy::too_many_arguments, reason = "a constructor of plain fields")]
    pub(super) fn new(
        block: *mut u8,
        arena: &'static Arena,
        backend: Backend,
        geometry: Geometry,
        flags: SlabFlags,
        id: u16,
        counts_hits: bool,
        name: &str,
    ) -> Self {
        let mut bytes = [0; MAX_NAME + 1];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        let shape = Shape::new(geometry.sheaf_capacity);
        let slots = Slots(block.wrapping_add(SLOTS_AT).cast());
        let end = slots.of(arena.slots as Cpu);
        let first = end.map_addr(|address| address.next_multiple_of(align_of::<CpuArea>())).cast::<CpuArea>();
        let cpu_areas = first.wrapping_add(NEGATIVE_SLOTS);
        let min_partial = Counter::new();
        min_partial.set(u64::from(geometry.min_partial));
        Self {
            slots,
            cpu_areas,
            node_areas: cpu_areas.wrapping_add(arena.slots as usize).cast(),
            arena,
            backend,
            geometry,
            shape,
            flags,
            id,
            counts_hits,
            parked: Counter::new(),
            min_partial,
            cleared: Cleared::default(),
            in_use: Gong::new(),
            unsettled: Gong::new(),
            defrag_ratio: Counter::new(),
            cookie: 0,
            swap_mask: 0,
            hooks: None,
            has_dtor: false,
            dtor_mode: DtorMode::Inline,
            object_bytes: Counter::new(),
            departed: Calls::new(),
            pins: Reapers::new(),
            name: bytes,
            defers_death: flags.contains(SlabFlags::TYPESAFE_BY_RCU),
            reapers: Reapers::new(),
            rcu: RcuLists::new(arena.form),
            full_limit: full_limit(geometry.sheaf_capacity, geometry.slab_size),
            adds_by_sequence: arena.kind == BackendKind::Rseq,
        }
    }

    pub fn name(&self) -> &str {
        let len = self.name.iter().position(|&byte| byte == 0).unwrap_or(MAX_NAME);
        core::str::from_utf8(&self.name[..len]).unwrap_or("?")
    }

    /// Whether readers may look at objects that are free, in slabs that have died.
    pub fn is_type_safe(&self) -> bool {
        self.flags.contains(SlabFlags::TYPESAFE_BY_RCU)
    }

    /// False where geometry gave capacity 0: then every slot stays stopped, and all goes straight to the slabs.
    pub fn has_sheaves(&self) -> bool {
        self.shape.capacity > 0
    }

    pub fn form(&self) -> Form {
        self.arena.form
    }

    pub fn slots(&self) -> Slots {
        self.slots
    }

    fn cpu_area(&self, cpu: Cpu) -> *mut CpuArea {
        self.cpu_areas.wrapping_offset(cpu as isize)
    }

    /// A counter of one CPU.
    pub fn stat(&self, cpu: Cpu, stat: Stat) -> &Counter {
        debug_assert!((-(NEGATIVE_SLOTS as Cpu)..self.arena.slots as Cpu).contains(&cpu));
        // SAFETY: the block has an area for every slot, and the counters are atomic.
        unsafe { &(&(*self.cpu_area(cpu)).stats)[stat as usize] }
    }

    /// See [`CpuArea::seen`].
    pub fn seen(&self, cpu: Cpu) -> &Counter {
        debug_assert!((0..self.arena.slots as Cpu).contains(&cpu));
        // SAFETY: the block has an area for every slot, and the word is atomic.
        unsafe { &(*self.cpu_area(cpu)).seen }
    }

    /// Adds to a counter of the CPU that this thread runs on, `cpu` at the caller's last look.
    pub fn bump(&self, cpu: Cpu, stat: Stat, n: u64) {
        if self.adds_by_sequence {
            // SAFETY: there is an area for every CPU number that a sequence may read.
            unsafe { seq::add((&raw mut (*self.cpu_area(0)).stats).cast::<u64>().add(stat as usize), n) };
        } else {
            self.stat(cpu, stat).add(n);
        }
    }

    /// Where a drain of the CPU's slot writes down what it has taken.
    pub fn intent(&self, cpu: Cpu) -> DrainIntent {
        // SAFETY: the block has an area for every slot.
        DrainIntent(unsafe { &raw mut (*self.cpu_area(cpu)).intent })
    }

    fn node_area(&self, node: NodeId) -> &NodeArea {
        debug_assert!(u32::from(node.0) < self.arena.nodes);
        // SAFETY: the block has an area for every node; all of its fields are atomic.
        unsafe { &*self.node_areas.wrapping_add(node.0 as usize) }
    }

    pub fn node(&self, node: NodeId) -> &NodeSlabs {
        &self.node_area(node).slabs
    }

    pub fn barn(&self, node: NodeId) -> &Barn {
        &self.node_area(node).barn
    }

    /// See [`NodeArea::tries`].
    pub fn tries(&self, node: NodeId) -> &Counter {
        &self.node_area(node).tries
    }

    /// See [`NodeArea::loose`].
    pub fn loose(&self, node: NodeId) -> &Counter {
        &self.node_area(node).loose
    }

    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.arena.nodes).map(|node| NodeId(node as u8))
    }

    pub fn cpus(&self) -> impl Iterator<Item = Cpu> + use<> {
        0..self.arena.cpus as Cpu
    }

    /// Fills the slots and areas of a block in which nobody knows the cache yet. Main sheaves come later.
    ///
    /// # Safety
    /// `self` lies at the start of a block of [`block_bytes`], which is the caller's alone.
    pub(super) unsafe fn write_areas(&self) {
        let total = self.arena.slots as Cpu;
        // With several nodes every free must look whose object it has: mask 0 sends it to the slow path.
        // The backends with a flag keep their sheaves where the counting sequences look: there these must miss, frees by the
        // mask, allocations by a count that is full.
        let sequences = self.arena.kind == BackendKind::Rseq;
        let mask = if sequences && self.arena.nodes == 1 { self.shape.mask() as u64 } else { 0 };
        let hits = if sequences { 0 } else { u64::MAX };
        // SAFETY: all inside the block, by the caller's word.
        unsafe {
            for cpu in -(NEGATIVE_SLOTS as Cpu)..total {
                self.slots().of(cpu).write(Slot { mask, hits, ..Slot::closed() });
            }
            for cpu in -(NEGATIVE_SLOTS as Cpu)..total {
                let stats = core::array::from_fn(|_| Counter::new());
                self.cpu_area(cpu).write(CpuArea { stats, intent: Pair::stopped(), seen: Counter::new() });
            }
            for node in 0..self.arena.nodes as usize {
                let form = self.form();
                self.node_areas.wrapping_add(node).write(NodeArea {
                    slabs: NodeSlabs::new(form),
                    barn: Barn::new(form),
                    loose: Counter::new(),
                    tries: Counter::new(),
                });
            }
        }
    }
}
