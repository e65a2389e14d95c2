//! haybarn's kmalloc family as the scenario `kmalloc` sees it.

use super::haybarn_counters::stat;
use super::heap::{Heap, Source, Way};
use super::no_cache::NoCache;
use crate::oracle::Counters;
use haybarn::kmalloc::{self, KmemBuckets};
use haybarn::{AllocFlags, Arena, CacheName, CacheStats, Error};
use std::ptr::NonNull;

/// The size classes of an arena, and a private set of them.
pub struct HaybarnHeap {
    arena: &'static Arena,
    /// The names of the private set begin so.
    prefix: String,
    buckets: KmemBuckets,
}

fn flags(zero: bool) -> AllocFlags {
    if zero { AllocFlags::ZERO } else { AllocFlags::empty() }
}

impl HaybarnHeap {
    /// # Errors
    /// Why there is no private set.
    pub fn new(arena: &'static Arena, prefix: String) -> Result<Self, NoCache> {
        let buckets = KmemBuckets::create(arena, &prefix).map_err(|error| match error {
            Error::OutOfMemory { .. } => NoCache::OutOfMemory(error.to_string()),
            _ => NoCache::Refused(error.to_string()),
        })?;
        Ok(Self { arena, prefix, buckets })
    }

    fn names(&self) -> Vec<CacheName> {
        let ours = |name: &CacheName| name.name().starts_with("kmalloc-") || name.name().starts_with(&self.prefix);
        self.arena.names().into_iter().filter(ours).collect()
    }

    fn stats(&self) -> Vec<CacheStats> {
        self.names().iter().filter_map(CacheName::pin).map(|cache| cache.stats()).collect()
    }
}

impl Heap for HaybarnHeap {
    fn alloc(&self, source: Source, size: usize, zero: bool) -> Option<NonNull<u8>> {
        match source {
            Source::Classes => kmalloc::kmalloc(self.arena, size, flags(zero)),
            Source::Buckets => self.buckets.alloc(size, flags(zero)),
            Source::Fallback => kmalloc::kvmalloc(self.arena, size, flags(zero)),
        }
    }

    unsafe fn resize(&self, memory: *mut u8, len: Option<usize>, size: usize, zero: bool) -> Option<NonNull<u8>> {
        // SAFETY: the caller's promise is the callee's condition, here and below.
        unsafe {
            match len {
                Some(len) => kmalloc::krealloc_from(self.arena, memory, len, size, flags(zero)),
                None => kmalloc::krealloc(self.arena, memory, size, flags(zero)),
            }
        }
    }

    unsafe fn free(&self, memory: *mut u8, way: Way) -> Result<(), String> {
        // SAFETY: as above.
        unsafe {
            match way {
                Way::Plain => kmalloc::kfree(self.arena, memory),
                Way::Sensitive => kmalloc::kfree_sensitive(self.arena, memory),
                Way::Fallback => kmalloc::kvfree(self.arena, memory),
                Way::Checked => kmalloc::kfree_checked(self.arena, memory).map_err(|error| error.to_string())?,
            }
        }
        Ok(())
    }

    unsafe fn free_bulk(&self, memory: &mut [*mut u8]) {
        // SAFETY: as above.
        unsafe { kmalloc::kfree_bulk(self.arena, memory) };
    }

    unsafe fn usable(&self, memory: *mut u8) -> usize {
        // SAFETY: as above.
        unsafe { kmalloc::ksize(self.arena, memory) }
    }

    fn roundup(&self, size: usize) -> usize {
        kmalloc::kmalloc_size_roundup(size)
    }

    fn counters(&self) -> Counters {
        let all = self.stats();
        Counters::read(|counter| stat(counter).map_or(0, |stat| all.iter().map(|stats| stats.get(stat)).sum()))
    }

    fn live(&self) -> u64 {
        self.stats().iter().map(|stats| stats.objects).sum()
    }

    fn close(self: Box<Self>) -> Result<(), String> {
        for name in self.names() {
            let Some(cache) = name.pin() else { continue };
            cache.validate().map_err(|error| format!("{}: {error}", name.name()))?;
            let _gone = cache.shrink();
            let left = cache.stats().slabs;
            // Those of all stay, with nothing in them.
            if left > 0 {
                return Err(format!("{}: {left} slabs are left after a shrink", name.name()));
            }
        }
        // SAFETY: the caller has given the only handle, and with it everything that came from it.
        unsafe { self.buckets.destroy() }.map_err(|(error, _)| error.to_string())
    }
}
