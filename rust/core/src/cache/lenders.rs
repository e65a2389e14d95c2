#![forbid(unsafe_code)]
//! Which nodes lend to one whose partial slabs are used up, and how often.
//!
//! Source: `get_from_any_partial`, `__refill_objects_any` (mm/slub.c).

use super::header::Cache;
use super::slabs::At;
use crate::pages::NodeId;
use crate::slab::Slabs;
use crate::sync::Bug;

/// Per cent of the refills that may go to other nodes (`remote_node_defrag_ratio`); kept ten times that, as in Linux.
pub(super) const DEFRAG_DEFAULT: u64 = 1000;

impl At<'_> {
    /// Whether an object is of a node's memory.
    pub(super) fn is_of(&self, object: *mut u8, node: NodeId) -> bool {
        Bug::StrayNode.planted() || self.map_of(object).node() == node
    }

    /// The other nodes, nearest first.
    pub(super) fn others(&self, node: NodeId) -> impl Iterator<Item = NodeId> + use<'_> {
        self.cache.arena.others[usize::from(node.0)].iter().map(|&other| NodeId(other))
    }

    /// Nodes that a node whose own partial slabs are used up may take from, nearest first: those with more partial slabs than
    /// they keep anyway, and all this as often as the ratio says.
    ///
    /// The kernel throws its dice by the cycle counter: `get_cycles() % 1024 > ratio` is a no. Here the tries of a node are
    /// counted, in an order that spreads them over the 1024 values, so that of 1024 tries exactly ratio + 1 pass, and a run on
    /// one thread repeats itself.
    pub(super) fn lenders(&self, node: NodeId) -> impl Iterator<Item = NodeId> + use<'_> {
        let (cache, form) = (self.cache, self.cache.form());
        let open = cache.arena.nodes > 1 && passes(cache, node);
        let min_partial = self.min_partial();
        self.others(node).filter(move |&other| open && cache.node(other).partial(form) > min_partial)
    }
}

fn passes(cache: &Cache, node: NodeId) -> bool {
    let ratio = cache.defrag_ratio.get();
    if ratio == 0 {
        return false;
    }
    let tries = cache.tries(node);
    // Lost counts are no harm.
    let nth = tries.get();
    tries.set(nth.wrapping_add(1));
    is_open(nth, ratio)
}

/// An odd factor: every value below 1024 comes once in 1024.
const SPREAD: u64 = 397;

fn is_open(nth: u64, ratio: u64) -> bool {
    nth.wrapping_mul(SPREAD) % 1024 <= ratio
}

#[cfg(test)]
#[path = "lenders_tests.rs"]
mod tests;
