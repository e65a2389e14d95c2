//! Which objects of a quiet cache are handed out: what destroy refuses with.
#![forbid(unsafe_code)]

use super::header::Cache;
use super::raw::RawCache;
use super::slabs::At;
use crate::error::{Error, LiveObject};
use crate::pages::{PageIndex, PageKind};
use crate::slab::{ObjRef, Slabs};
use crate::sync::Index;

/// Live objects that an error names.
const SAMPLE: usize = 64;

/// The error for a cache whose sheaves are empty and which still has slabs, or of which a prefilled sheaf is out.
pub(super) fn busy(cache: &Cache) -> Error {
    let at = At::new(cache);
    let mut sample = Vec::new();
    let mut live = 0;
    for slab in slabs(&at) {
        let free = free_objects(&at, slab);
        live += u64::from(at.total(slab)) - free.len() as u64;
        let stride = cache.geometry.slab_size;
        let taken = (0..at.total(slab)).filter(|&n| !free.contains(&ObjRef::at(n as usize * stride)));
        sample.extend(
            taken
                .take(SAMPLE - sample.len())
                .map(|index| LiveObject { address: at.base(slab).addr() + index as usize * stride, index }),
        );
    }
    let stats = RawCache::of(cache).stats();
    // What lies in a prefilled sheaf has left its slab and is nobody's yet.
    let live = live.saturating_sub(stats.in_prefilled);
    if live == 0 {
        sample.clear();
    }
    Error::CacheBusy { cache: cache.name().to_owned(), live, prefilled: stats.prefilled, sample }
}

/// Every living slab of the cache, found in the page map: full ones are in no list.
fn slabs(at: &At<'_>) -> Vec<Index> {
    mapped(at, false)
}

/// Every dead slab of the cache whose pages have not gone.
pub(super) fn dead_slabs(at: &At<'_>) -> Vec<Index> {
    mapped(at, true)
}

fn mapped(at: &At<'_>, dead: bool) -> Vec<Index> {
    let pages = &at.cache.arena.pages;
    let mut found = Vec::new();
    let (mut page, end) = (0, pages.used_pages());
    while page < end {
        let word = pages.map(PageIndex(page));
        let ours = word.kind() == PageKind::Slab && word.cache() == at.cache.id;
        if ours && at.word(word.descriptor()).load(at.form()).dead == dead {
            found.push(word.descriptor());
        }
        page += if ours { word.order().pages() } else { 1 };
    }
    found
}

/// The free list of a slab that nobody else touches.
fn free_objects(at: &At<'_>, slab: Index) -> std::collections::HashSet<ObjRef> {
    let state = at.word(slab).load(at.form());
    let mut object = state.head;
    let mut free = std::collections::HashSet::new();
    while !object.is_none() && free.len() < state.free as usize {
        free.insert(object);
        object = at.next(slab, object);
    }
    free
}
