#![forbid(unsafe_code)]
//! What a cache's slabs hold, node by node, counted by one walk over the page map: full slabs are in no list. Stops nobody;
//! exact when the cache is quiet.

use super::header::Cache;
use super::slabs::At;
use crate::pages::{PageIndex, PageKind};
use crate::slab::Slabs;
use crate::slab::geometry::Geometry;

/// One node's slabs and the objects in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// Objects in them, free or not.
    pub objects: u64,
    /// Objects of those that have free ones, free or not.
    pub in_partial: u64,
    /// Objects that lie free in their slab.
    pub free: u64,
}

impl Cache {
    /// The slabs of each node.
    pub(crate) fn survey(&self) -> Vec<Survey> {
        let at = At::new(self);
        let Geometry { order, objs_per_slab, fallback_objs, .. } = self.geometry;
        let mut nodes = vec![Survey::default(); self.arena.nodes as usize];
        let pages = &self.arena.pages;
        let (mut page, end) = (0, pages.used_pages());
        while page < end {
            let word = pages.map(PageIndex(page));
            if word.kind() != PageKind::Slab || word.cache() != self.id {
                page += 1;
                continue;
            }
            let state = at.word(word.descriptor()).load(at.form());
            // A word that still is what it was: the descriptor was this slab's when it was read.
            if !state.dead && pages.map(PageIndex(page)) == word {
                let total = u64::from(if word.order().0 == order { objs_per_slab } else { fallback_objs });
                let free = u64::from(state.free).min(total);
                if let Some(node) = nodes.get_mut(usize::from(word.node().0)) {
                    node.objects += total;
                    node.free += free;
                    node.in_partial += if free > 0 { total } else { 0 };
                }
            }
            page += word.order().pages();
        }
        nodes
    }
}
