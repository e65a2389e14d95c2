//! A private set of size classes: what is in it never shares slabs with the rest of the program, so that a use after free of
//! one cannot meet the other. Source: `kmem_buckets_create` (mm/slab_common.c).

use super::alloc::by_size;
use super::classes::{SIZES, make};
use crate::cache::{AllocFlags, Arena, RawCache, SAMPLE};
use crate::error::Error;
use core::ptr::NonNull;

/// Size classes of one's own. Its memory is given back by [`kfree`](super::kfree) and the others, as any.
///
/// Usable from every thread. As in Linux the caches stay when it is dropped; [`KmemBuckets::destroy`] ends them.
#[derive(Debug)]
pub struct KmemBuckets {
    arena: &'static Arena,
    /// One for each class.
    caches: Box<[RawCache]>,
}

impl KmemBuckets {
    /// Makes the caches `name-8` to `name-8k` in an arena; a name that is taken gets a number, as those of kmalloc do.
    ///
    /// # Errors
    /// As [`RawCache::create`]; none of the caches is there then.
    pub fn create(arena: &'static Arena, name: &str) -> Result<Self, Error> {
        let mut caches = Vec::with_capacity(SIZES.len());
        for at in 0..SIZES.len() {
            match make(arena, name, at) {
                Ok(cache) => caches.push(cache),
                Err(error) => {
                    for made in caches {
                        // SAFETY: nobody else knows it.
                        let _none = unsafe { made.destroy() };
                    }
                    return Err(error);
                }
            }
        }
        Ok(Self { arena, caches: caches.into() })
    }

    /// As [`kmalloc`](super::kmalloc), from these classes; what is larger gets whole pages, which are nobody's class.
    #[must_use]
    #[inline]
    pub fn alloc(&self, size: usize, flags: AllocFlags) -> Option<NonNull<u8>> {
        by_size(self.arena, size, flags, |at| Some(self.caches[at]))
    }

    /// Objects of these classes that are live, as [`CacheStats`](crate::CacheStats) counts them.
    #[must_use]
    pub fn objects(&self) -> u64 {
        self.caches.iter().map(|cache| cache.stats().objects).sum()
    }

    /// Ends the caches.
    ///
    /// # Errors
    /// [`Error::CacheBusy`] of the first that has live objects, [`Error::InReadSection`]; with the set, of which nothing is
    /// gone then.
    ///
    /// # Safety
    /// Nobody frees an object of these classes during the call.
    pub unsafe fn destroy(self) -> Result<(), (Error, Self)> {
        for &cache in &self.caches {
            let stats = cache.stats();
            if let Err(error) = if stats.rcu_pending > 0 { cache.rcu_barrier() } else { Ok(()) } {
                return Err((error, self));
            }
            if cache.stats().objects > 0 {
                let (live, sample) = (cache.stats().objects, cache.live_objects(SAMPLE).1);
                let busy = Error::CacheBusy { cache: cache.info().name, live, prefilled: 0, sample };
                return Err((busy, self));
            }
        }
        for &cache in &self.caches {
            // SAFETY: the set was the only one to allocate from it, and by the caller's word nobody frees.
            let ended = unsafe { cache.destroy() };
            assert!(ended.is_ok(), "an idle cache could not be destroyed: {ended:?}");
        }
        Ok(())
    }
}
