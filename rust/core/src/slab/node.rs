#![forbid(unsafe_code)]
//! A node's slabs: the stack of partial ones, the banks that a shrink sorts into, and how many there are.
//!
//! Source: `struct kmem_cache_node` of the kernel, whose list and lock became tagged stacks.

use super::grave::Grave;
use crate::sync::{Counter, Form, Index, Links, TaggedStack};

/// Fill classes of a shrink: bank 0 takes the slabs with the fewest free objects.
const BANKS: usize = if cfg!(loom) { 1 } else { 4 };

/// All zeros is a node without slabs.
#[repr(C)]
pub(crate) struct NodeSlabs {
    partial: TaggedStack,
    sorted: [TaggedStack; BANKS],
    grave: Grave,
    tombstones: Counter,
    slabs: Counter,
    objects: Counter,
}

impl NodeSlabs {
    pub fn new(form: Form) -> Self {
        Self {
            partial: TaggedStack::new(form),
            sorted: core::array::from_fn(|_| TaggedStack::new(form)),
            grave: Grave::new(form),
            tombstones: Counter::new(),
            slabs: Counter::new(),
            objects: Counter::new(),
        }
    }

    /// Slabs of this node.
    pub fn slabs(&self) -> u64 {
        self.slabs.get()
    }

    /// Objects in these slabs, free or not.
    pub fn objects(&self) -> u64 {
        self.objects.get()
    }

    /// Entries of all stacks, tombstones included.
    pub fn listed(&self, form: Form) -> u64 {
        self.partial.len(form) + self.sorted.iter().map(|bank| bank.len(form)).sum::<u64>()
    }

    /// Slabs with free objects: the kernel's nr_partial, off by the threads in flight.
    pub fn partial(&self, form: Form) -> u64 {
        self.listed(form).saturating_sub(self.tombstones.get())
    }

    pub fn push(&self, form: Form, links: &impl Links, slab: Index) {
        self.partial.push(form, links, slab);
    }

    pub fn pop_until<F: FnMut(Index) -> bool>(
        &self,
        form: Form,
        links: &impl Links,
        out: &mut [Index],
        enough: impl Fn() -> F,
    ) -> usize {
        let popped = self.partial.pop_until(form, links, out, &enough);
        if popped > 0 {
            return popped;
        }
        self.sorted.iter().map(|bank| bank.pop_until(form, links, out, &enough)).find(|&popped| popped > 0).unwrap_or(0)
    }

    /// Looks at the slabs of all stacks, tombstones included; exact when nobody else is at them.
    pub fn visit_partial(&self, form: Form, links: &impl Links, mut visit: impl FnMut(Index)) {
        for stack in core::iter::once(&self.partial).chain(&self.sorted) {
            stack.visit(form, links, &mut visit);
        }
    }

    /// Takes the top of the unsorted stack, for a shrink.
    pub fn pop_unsorted(&self, form: Form, links: &impl Links) -> Option<Index> {
        self.partial.pop(form, links)
    }

    /// Puts a slab with `free` of `total` objects free into its bank.
    pub fn push_sorted(&self, form: Form, links: &impl Links, slab: Index, free: u32, total: u32) {
        let bank = (free as usize * BANKS / (total as usize + 1)).min(BANKS - 1);
        self.sorted[bank].push(form, links, slab);
    }

    /// Moves the banks back, so that the fullest slabs end on top.
    pub fn unsort(&self, form: Form, links: &impl Links) {
        for bank in self.sorted.iter().rev() {
            for _ in 0..bank.len(form) {
                let Some(slab) = bank.pop(form, links) else { break };
                self.partial.push(form, links, slab);
            }
        }
    }

    /// The node's dead slabs whose pages wait.
    pub fn grave(&self) -> &Grave {
        &self.grave
    }

    pub fn slab_made(&self, objects: u64) {
        self.slabs.add(1);
        self.objects.add(objects);
    }

    pub fn slab_gone(&self, objects: u64) {
        self.slabs.sub(1);
        self.objects.sub(objects);
    }

    pub fn tombstone_left(&self) {
        self.tombstones.add(1);
    }

    pub fn tombstone_buried(&self) {
        self.tombstones.sub(1);
    }
}
