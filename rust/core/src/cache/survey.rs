#![forbid(unsafe_code)]
//! What the slabs of caches hold, node by node, counted by one walk over the page map: full slabs are in no list. Stops nobody;
//! exact when the caches are quiet.

use super::arena::Arena;
use super::header::Cache;
use super::slabs::At;
use crate::pages::{MapWord, PageIndex, PageKind};
use crate::slab::Slabs;
use crate::slab::geometry::Geometry;

/// The objects of one cache on one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// Objects in slabs, free or not.
    pub objects: u64,
    /// Objects of those slabs that have free ones, free or not.
    pub in_partial: u64,
    /// Objects that lie free in their slab.
    pub free: u64,
}

/// Visits every slab whose cache has an id that is wanted, living or dead: its first page, and what the map says of it. Stops
/// nobody: a slab may go meanwhile.
pub(super) fn each_slab(arena: &Arena, wanted: impl Fn(u16) -> bool, mut visit: impl FnMut(PageIndex, MapWord)) {
    let pages = &arena.pages;
    let (mut page, end) = (0, pages.used_pages());
    while page < end {
        let word = pages.map(PageIndex(page));
        if word.kind() == PageKind::Slab && wanted(word.cache()) {
            visit(PageIndex(page), word);
            page += word.order().pages();
        } else {
            page += 1;
        }
    }
}

/// The objects of some caches of one arena, by cache and node. The caches live meanwhile.
pub(crate) fn survey(caches: &[&Cache]) -> Vec<Vec<Survey>> {
    let Some(first) = caches.first() else { return Vec::new() };
    let arena = first.arena;
    let mut found = vec![vec![Survey::default(); arena.nodes as usize]; caches.len()];
    let mut places = vec![None; 1 + usize::from(caches.iter().map(|cache| cache.id).max().unwrap_or(0))];
    for (place, cache) in caches.iter().enumerate() {
        places[usize::from(cache.id)] = Some(place);
    }
    let place_of = |id: u16| places.get(usize::from(id)).copied().flatten();
    each_slab(
        arena,
        |id| place_of(id).is_some(),
        |page, word| {
            let Some(place) = place_of(word.cache()) else { return };
            let cache = caches[place];
            let state = At::new(cache).word(word.descriptor()).load(cache.form());
            // A word that still is what it was: the descriptor was this slab's when it was read.
            if state.dead || arena.pages.map(page) != word {
                return;
            }
            let Geometry { order, objs_per_slab, fallback_objs, .. } = cache.geometry;
            let total = u64::from(if word.order().0 == order { objs_per_slab } else { fallback_objs });
            let free = u64::from(state.free).min(total);
            if let Some(node) = found[place].get_mut(usize::from(word.node().0)) {
                node.objects += total;
                node.free += free;
                node.in_partial += if free > 0 { total } else { 0 };
            }
        },
    );
    // One that is in the list twice, under two names, was counted in one place.
    caches
        .iter()
        .map(|cache| places[usize::from(cache.id)].map_or_else(Vec::new, |place: usize| found[place].clone()))
        .collect()
}
