#![forbid(unsafe_code)]
//! The statistics of all caches at once, cheap enough to be asked again and again: a storage is read once however many names
//! have it, and its counters are added up where they lie. No slab and no page map is walked, nothing is drained.

use crate::cache::{Arena, CacheName, CacheStats, RawCache};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Each living name with the statistics of its storage, oldest first. Caches that come or go meanwhile are there or not.
#[must_use]
pub fn stats(arena: &'static Arena) -> Vec<(CacheName, CacheStats)> {
    let names = arena.names();
    let mut found: Vec<(CacheName, CacheStats)> = Vec::with_capacity(names.len());
    let mut read: HashMap<RawCache, usize> = HashMap::with_capacity(names.len());
    for name in names {
        let Some(pinned) = name.pin() else { continue };
        // A storage that has taken the place of one that is gone has none of these names: they are older.
        let stats = match read.entry(*pinned) {
            Entry::Occupied(at) => found[*at.get()].1.clone(),
            Entry::Vacant(new) => {
                new.insert(found.len());
                pinned.stats()
            }
        };
        found.push((name, stats));
    }
    found
}
