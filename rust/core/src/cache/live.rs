//! Which objects of a quiet cache are handed out: what destroy refuses with.
#![forbid(unsafe_code)]

use super::header::Cache;
use super::raw::RawCache;
use super::slabs::At;
use super::stack::taken_out;
use super::survey::each_slab;
use crate::error::{Error, LiveObject};
use crate::slab::{ObjRef, Slabs};
use crate::sync::Index;
use std::collections::HashSet;

/// Live objects that an error or a report names of each cache.
pub(crate) const SAMPLE: usize = 64;

/// The error for a cache whose sheaves are empty and which still has slabs, or of which a prefilled sheaf is out.
pub(super) fn busy(cache: &Cache) -> Error {
    let at = At::new(cache);
    let prefilled = RawCache::of(cache).stats().prefilled;
    // What lies in a prefilled sheaf has left its slab and is nobody's yet.
    let set_aside = if prefilled > 0 { taken_out(cache) } else { HashSet::new() };
    let mut sample = Vec::new();
    let mut live = 0;
    for slab in slabs(&at) {
        let (free, stride) = (free_objects(&at, slab), cache.geometry.slab_size);
        let taken = (0..at.total(slab)).filter(|&n| !free.contains(&ObjRef::at(n as usize * stride)));
        let address = |index: u32| at.base(slab).addr() + index as usize * stride;
        for index in taken.filter(|&index| !set_aside.contains(&address(index))) {
            live += 1;
            if sample.len() < SAMPLE {
                sample.push(LiveObject { address: address(index), index });
            }
        }
    }
    Error::CacheBusy { cache: cache.name().to_owned(), live, prefilled, sample }
}

/// Every living slab of the cache, found in the page map: full ones are in no list.
pub(super) fn slabs(at: &At<'_>) -> Vec<Index> {
    mapped(at, false)
}

/// Every dead slab of the cache whose pages have not gone.
pub(super) fn dead_slabs(at: &At<'_>) -> Vec<Index> {
    mapped(at, true)
}

fn mapped(at: &At<'_>, dead: bool) -> Vec<Index> {
    let mut found = Vec::new();
    each_slab(
        at.cache.arena,
        |id| id == at.cache.id,
        |_, word| {
            if at.word(word.descriptor()).load(at.form()).dead == dead {
                found.push(word.descriptor());
            }
        },
    );
    found
}

/// The free list of a slab that nobody else touches.
fn free_objects(at: &At<'_>, slab: Index) -> HashSet<ObjRef> {
    let state = at.word(slab).load(at.form());
    let mut object = state.head;
    let mut free = HashSet::new();
    while !object.is_none() && free.len() < state.free as usize {
        free.insert(object);
        object = at.next(slab, object);
    }
    free
}
