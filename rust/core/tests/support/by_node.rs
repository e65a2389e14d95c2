//! Whose memory objects are, and what must add up for each node.

use super::audit;
use haybarn::{AllocFlags, NodeObjects, RawCache};
use std::ptr::NonNull;

pub const STRICT: AllocFlags = AllocFlags::THISNODE;

pub fn node(cache: RawCache, object: NonNull<u8>) -> u32 {
    cache.node_of(object.as_ptr()).unwrap()
}

/// Each object of a quiet cache is free in a slab, in a sheaf, or with the test: node by node.
pub fn audit_nodes(cache: RawCache, live: &[NonNull<u8>]) {
    audit(cache, live.len());
    let (stats, nodes) = (cache.stats(), cache.arena().nodes());
    assert_eq!(stats.nodes.len(), nodes as usize);
    for (id, part) in (0..nodes).zip(&stats.nodes) {
        let held = live.iter().filter(|&&object| node(cache, object) == id).count() as u64;
        let found = cache.objects_of_node(id);
        assert_eq!(part.total_objects, found.free + found.in_sheaves + held, "node {id}: {part:?} {found:?}");
        assert!(found.on_partial >= found.free && part.partial <= part.slabs);
    }
    assert_eq!(cache.objects_of_node(nodes), NodeObjects::default());
}
