#![forbid(unsafe_code)]
//! What an arena and a cache say of their nodes, and the ratio by which refills go to other ones.

use super::arena::Arena;
use super::raw::RawCache;
use super::slabs::At;
use crate::error::Error;
use crate::pages::NodeId;
use crate::slab::Slabs;

/// Most that `remote_node_defrag_ratio` may be.
const DEFRAG_MAX: u32 = 100;

impl Arena {
    /// Nodes of this arena.
    #[must_use]
    pub fn nodes(&self) -> u32 {
        self.nodes
    }

    /// The node of a CPU: the one whose barn and slabs it takes from first. CPUs that the arena does not have are on node 0.
    #[must_use]
    pub fn node_of_cpu(&self, cpu: u32) -> u32 {
        self.node_of.get(cpu as usize).map_or(0, |&node| u32::from(node))
    }
}

impl RawCache {
    /// How many per cent of the refills that found their own node's partial slabs used up may take from other nodes' before
    /// they make new slabs. Source: the attribute of the same name.
    #[must_use]
    pub fn remote_node_defrag_ratio(self) -> u32 {
        (self.header().defrag_ratio.get() / 10) as u32
    }

    /// Sets [`RawCache::remote_node_defrag_ratio`], 0 to 100: 0 is never. Any thread may, at any time.
    ///
    /// # Errors
    /// [`Error::BadArgument`] above 100.
    pub fn set_remote_node_defrag_ratio(self, percent: u32) -> Result<(), Error> {
        if percent > DEFRAG_MAX {
            return Err(Error::BadArgument {
                cache: self.header().name().to_owned(),
                argument: "remote_node_defrag_ratio",
                value: percent.to_string(),
                legal: format!("0 to {DEFRAG_MAX} (per cent)"),
            });
        }
        self.header().defrag_ratio.set(u64::from(percent) * 10);
        Ok(())
    }
}

/// One node's part of a cache, at one moment; exact when the cache is quiet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeStats {
    /// Slabs of the node's memory.
    pub slabs: u64,
    /// Objects in them, handed out or not.
    pub total_objects: u64,
    /// Those with free objects.
    pub partial: u64,
    /// Dead ones whose pages wait.
    pub dead_slabs: u64,
    /// Sheaves in the node's barn: full, empty.
    pub barn: (u64, u64),
    /// Objects in the barn; a few may be of other nodes' memory.
    pub in_barn: u64,
    /// Objects in the sheaves of the node's CPUs; a few may be of other nodes' memory.
    pub in_cpus: u64,
}

/// Whose memory the objects are that lie somewhere: see [`RawCache::objects_of_node`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeObjects {
    /// Objects of partial slabs.
    pub on_partial: u64,
    /// Those of them that are free.
    pub free: u64,
    /// Objects of the node's memory that lie in sheaves of any CPU or barn.
    pub in_sheaves: u64,
}

impl RawCache {
    /// Walks a node's partial slabs, and all sheaves, to tell its objects apart; all zero for a node that is not there. Linux's
    /// attribute `objects` of a node is its `total_objects` less `free`, `objects_partial` is `on_partial` less `free`.
    ///
    /// Stops nobody; exact when the cache is quiet. Costs time by the number of slabs and objects, unlike [`RawCache::stats`].
    #[must_use]
    pub fn objects_of_node(self, node: u32) -> NodeObjects {
        let cache = self.header();
        let mut found = NodeObjects::default();
        if node >= cache.arena.nodes {
            return found;
        }
        let (at, node) = (At::new(cache), NodeId(node as u8));
        cache.node(node).visit_partial(cache.form(), &at, |slab| {
            let seen = at.word(slab).load(cache.form());
            if !seen.dead {
                found.on_partial += u64::from(at.total(slab));
                found.free += u64::from(seen.free);
            }
        });
        at.each_cached(|object| found.in_sheaves += u64::from(at.map_of(object).node() == node));
        found
    }
}

impl At<'_> {
    pub(super) fn node_stats(&self, node: NodeId) -> NodeStats {
        let (cache, slabs, barn) = (self.cache, self.cache.node(node), self.cache.barn(node));
        NodeStats {
            slabs: slabs.slabs(),
            total_objects: slabs.objects(),
            partial: slabs.partial(cache.form()),
            dead_slabs: slabs.grave().dead(),
            barn: (barn.full(cache.form()), barn.empty(cache.form())),
            in_barn: self.barn_objects(node),
            in_cpus: 0,
        }
    }
}
