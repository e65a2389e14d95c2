//! A typed cache that counts what is allocated and freed under its name: with shared slabs no counter of a slot can tell.

use super::arena::Arena;
use super::boxed::{Owned, Owner};
use super::create::CacheArgs;
use super::names::CacheName;
use super::typed::KmemCache;
use crate::error::Error;
use core::ptr::NonNull;

/// A [`KmemCache`] whose allocations and frees are counted, exactly, at the price of one atomic addition each.
///
/// ```
/// use haybarn::{CacheArgs, CountedCache};
/// # fn main() -> Result<(), haybarn::Error> {
/// let requests = CountedCache::<[u8; 48]>::create("requests", &CacheArgs::default())?;
/// let replies = CountedCache::<[u8; 48]>::create("replies", &CacheArgs::default())?;
/// let (_request, reply) = (requests.alloc([1; 48])?, replies.alloc([2; 48])?);
/// drop(reply);
/// // One slab serves both names; each knows its own.
/// assert_eq!(replies.name().primary().as_deref(), Some("requests"));
/// assert_eq!((requests.live(), requests.name().calls()), (1, (1, 0)));
/// assert_eq!((replies.live(), replies.name().calls()), (0, (1, 1)));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct CountedCache<T>(KmemCache<T>);

/// An owned object of a [`CountedCache`].
pub type CountedBox<'c, T> = Owned<'c, T, CountedCache<T>>;

impl<T> CountedCache<T> {
    /// Makes a cache in the process's arena. `args.align` is raised to `T`'s.
    ///
    /// # Errors
    /// As [`KmemCache::create`].
    pub fn create(name: &str, args: &CacheArgs) -> Result<Self, Error> {
        KmemCache::create(name, args).map(Self)
    }

    /// As [`CountedCache::create`], in an arena of one's own.
    ///
    /// # Errors
    /// As [`KmemCache::create`].
    pub fn create_in(arena: &'static Arena, name: &str, args: &CacheArgs) -> Result<Self, Error> {
        KmemCache::create_in(arena, name, args).map(Self)
    }

    /// Moves `value` into an object of the cache.
    ///
    /// # Errors
    /// As [`KmemCache::alloc`].
    pub fn alloc(&self, value: T) -> Result<CountedBox<'_, T>, Error> {
        let object = Owned::into_raw(self.0.alloc(value)?);
        self.name().count(1, 0);
        // SAFETY: the object holds the value and has no other owner.
        Ok(unsafe { Owned::from_raw(self, object) })
    }

    /// The cache's name, which has the counts: [`CacheName::calls`].
    #[must_use]
    pub fn name(&self) -> &CacheName {
        self.0.name()
    }

    /// Objects that are live; one that was given to [`kfree_rcu`](crate::kfree_rcu) is not.
    #[must_use]
    pub fn live(&self) -> u64 {
        let (allocs, frees) = self.name().calls();
        allocs.saturating_sub(frees)
    }

    /// Destroys the cache.
    ///
    /// # Errors
    /// [`Error::CacheBusy`] with the cache itself when objects were leaked, also where others share its slabs.
    pub fn destroy(self) -> Result<(), (Error, Self)> {
        let live = self.live();
        if live > 0 && self.name().is_shared() {
            let cache = self.name().name().to_owned();
            return Err((Error::CacheBusy { cache, live, prefilled: 0, sample: Vec::new() }, self));
        }
        self.0.destroy().map_err(|(error, cache)| (error, Self(cache)))
    }
}

impl<T> Owner<T> for CountedCache<T> {
    #[inline]
    unsafe fn free(&self, object: NonNull<T>) {
        // SAFETY: the caller's word.
        unsafe { self.0.free(object) };
        self.name().count(0, 1);
    }

    #[inline]
    unsafe fn free_nolock(&self, object: NonNull<T>) {
        // SAFETY: the caller's word.
        unsafe { self.0.free_nolock(object) };
        self.name().count(0, 1);
    }

    #[inline]
    unsafe fn free_rcu(&self, object: NonNull<T>) -> Result<(), Error> {
        // SAFETY: the caller's word.
        unsafe { self.0.free_rcu(object)? };
        self.name().count(0, 1);
        Ok(())
    }
}
