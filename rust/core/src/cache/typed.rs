//! Caches of one Rust type: safe to use, objects are owned boxes.

use super::arena::Arena;
use super::attributes::CacheInfo;
use super::boxed::{Owned, Owner};
use super::create::CacheArgs;
use super::hooks::{CtorError, take_ctor_error};
use super::inspect::CacheStats;
use super::names::CacheName;
use super::options::AllocFlags;
use super::raw::RawCache;
use crate::error::Error;
use core::marker::PhantomData;
use core::ptr::NonNull;

/// A cache of objects of type `T`. Its objects are [`CacheBox`]es, which cannot outlive it.
///
/// Usable from every thread. It may share its slabs with others: see [`CacheName::create`]. Dropping it destroys the cache;
/// objects that were leaked (`core::mem::forget`) keep the slabs, and an unshared cache, for good.
pub struct KmemCache<T> {
    raw: RawCache,
    name: CacheName,
    objects: PhantomData<fn() -> T>,
}

/// An owned object of a [`KmemCache`].
pub type CacheBox<'c, T> = Owned<'c, T, KmemCache<T>>;

impl<T> KmemCache<T> {
    /// Makes a cache in the process's arena. `args.align` is raised to `T`'s.
    ///
    /// # Errors
    /// As [`RawCache::create`]; [`Error::BadArgument`] for a type of size 0.
    pub fn create(name: &str, args: &CacheArgs) -> Result<Self, Error> {
        Self::create_in(Arena::global()?, name, args)
    }

    /// As [`KmemCache::create`], in an arena of one's own.
    ///
    /// # Errors
    /// As [`KmemCache::create`].
    pub fn create_in(arena: &'static Arena, name: &str, args: &CacheArgs) -> Result<Self, Error> {
        let name = CacheName::create(arena, name, size_of::<T>(), &for_type::<T>(name, args)?)?;
        Ok(Self { raw: name.storage(), name, objects: PhantomData })
    }

    /// Moves `value` into an object of the cache.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; the value is dropped then.
    #[inline]
    pub fn alloc(&self, value: T) -> Result<CacheBox<'_, T>, Error> {
        match self.raw.alloc(AllocFlags::empty()) {
            Some(object) => {
                let object = object.cast::<T>();
                // SAFETY: the object is as large and aligned as `T`, and ours.
                unsafe { object.write(value) };
                // SAFETY: the object holds a value now and has no other owner.
                Ok(unsafe { CacheBox::from_raw(self, object) })
            }
            None => Err(refusal(self.raw).of_cache(self.name.name())),
        }
    }

    /// The cache's name: for its primary, its aliases, and to be looked at by others.
    #[must_use]
    pub fn name(&self) -> &CacheName {
        &self.name
    }

    /// The cache's attributes.
    #[must_use]
    pub fn info(&self) -> CacheInfo {
        self.name.info()
    }

    /// The counters of the cache and of those that share its slabs: see [`RawCache::stats`].
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.raw.stats()
    }

    /// Gives back what the cache keeps: see [`RawCache::shrink`].
    #[must_use = "the number of slabs released"]
    pub fn shrink(&self) -> u64 {
        self.raw.shrink()
    }

    /// Waits until what was given to [`kfree_rcu`](crate::kfree_rcu) before is free: see [`RawCache::rcu_barrier`].
    ///
    /// # Errors
    /// [`Error::InReadSection`].
    pub fn rcu_barrier(&self) -> Result<(), Error> {
        self.raw.rcu_barrier()
    }

    /// Checks every free list and sheaf: see [`RawCache::validate`].
    ///
    /// # Errors
    /// [`Error::Corruption`].
    pub fn validate(&self) -> Result<(), Error> {
        self.raw.validate().map_err(|error| error.of_cache(self.name.name()))
    }

    /// The untyped handle, for bulk calls and what else this type does not have.
    ///
    /// # Safety
    /// The handle, and every copy of it, is not used after the cache has gone.
    #[must_use]
    pub unsafe fn raw(&self) -> RawCache {
        self.raw
    }

    /// Destroys the cache.
    ///
    /// # Errors
    /// [`Error::CacheBusy`] with the cache itself when objects were leaked; not while others share its slabs.
    pub fn destroy(self) -> Result<(), (Error, Self)> {
        // SAFETY: no box is alive, since each borrows the cache; the handle goes with `self`.
        match unsafe { self.name.destroy() } {
            // The second attempt, when `self` is dropped, finds it destroyed.
            Ok(()) => Ok(()),
            Err(error) => Err((error, self)),
        }
    }
}

impl<T> Drop for KmemCache<T> {
    fn drop(&mut self) {
        // SAFETY: as in `destroy`. An error means leaked objects: then the cache stays, as its documentation says.
        let _ = unsafe { self.name.destroy() };
    }
}

impl<T> core::fmt::Debug for KmemCache<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("KmemCache").field("name", &self.name.name()).finish_non_exhaustive()
    }
}

impl<T> Owner<T> for KmemCache<T> {
    #[inline]
    unsafe fn free(&self, object: NonNull<T>) {
        // SAFETY: the caller's word.
        unsafe { self.raw.free(object.cast()) };
    }

    #[inline]
    unsafe fn free_nolock(&self, object: NonNull<T>) {
        // SAFETY: the caller's word.
        unsafe { self.raw.free_nolock(object.cast()) };
    }

    #[inline]
    unsafe fn free_rcu(&self, object: NonNull<T>) -> Result<(), Error> {
        // SAFETY: the caller's word.
        unsafe { self.raw.free_rcu(object.cast()) }
    }
}

/// The arguments with at least the type's alignment. Hooks are refused: values that are moved in and out of objects would
/// undo what they construct.
pub(super) fn for_type<T>(name: &str, args: &CacheArgs) -> Result<CacheArgs, Error> {
    if args.hooks.is_some() {
        let (argument, legal) = ("hooks", "none for a typed cache: CtorCache is the one with a constructor".to_owned());
        return Err(Error::BadArgument { cache: name.to_owned(), argument, value: "given".to_owned(), legal });
    }
    // An alignment that is none stays what it is: creation refuses it.
    let legal = args.align == 0 || args.align.is_power_of_two();
    Ok(CacheArgs { align: if legal { args.align.max(align_of::<T>()) } else { args.align }, ..args.clone() })
}

/// Why an allocation gave nothing.
#[cold]
pub(super) fn refusal(cache: RawCache) -> Error {
    why_not(cache, take_ctor_error())
}

/// The error that a failed allocation left, or that memory is out.
pub(super) fn why_not(cache: RawCache, left: Option<CtorError>) -> Error {
    let cache = cache.header().name().to_owned();
    match left.map(|CtorError(error)| error.downcast::<Error>()) {
        None => Error::OutOfMemory { cache, what: "an object" },
        Some(Ok(error)) => *error,
        Some(Err(_)) => Error::Ctor { cache, message: "with an error of its own type".to_owned() },
    }
}
