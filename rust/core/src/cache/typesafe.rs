//! Type-safe caches of one Rust type: readers without a lock look at objects that may be free, and what they see is always a `T`.

use super::arena::Arena;
use super::attributes::CacheInfo;
use super::constructed::{AllocError, CtorBox, CtorCache};
use super::create::CacheArgs;
use super::inspect::CacheStats;
use crate::error::Error;
use crate::rcu::ReadGuard;
use crate::slab::flags::SlabFlags;
use core::ops::Deref;
use core::ptr::NonNull;

/// A cache whose objects are `T`s from the making of their slab until the grace period after its death, free or not
/// (`SLAB_TYPESAFE_BY_RCU` with a constructor). `E` is the constructor's error.
///
/// What is freed may be used anew at once, also under a reader's eyes. So a reader gets a reference of its own (a count in
/// `T`) and looks again whether it is the object that it wanted: docs/typesafe.md has the whole story and a worked example.
///
/// Usable from every thread. Dropping it destroys the cache, which waits for a grace period; in a read section of the same
/// thread it cannot, and the cache and its memory stay for good.
pub struct TypesafeCache<T, E>(CtorCache<T, E>);

impl<T: Send + Sync + 'static, E: Send + 'static> TypesafeCache<T, E> {
    /// Makes a cache in an arena. `args.align` is raised to `T`'s, the flag `TYPESAFE_BY_RCU` is added; `args.hooks`,
    /// `args.private_bytes` and `args.freeptr_offset` are none. `ctor` makes the value of each object of a new slab; what it
    /// leaves in a `T` must say "free" to readers (a count of 0).
    ///
    /// # Errors
    /// As [`CtorCache::create`].
    pub fn create_in(
        arena: &'static Arena,
        name: &str,
        args: &CacheArgs,
        ctor: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let args = CacheArgs { flags: args.flags | SlabFlags::TYPESAFE_BY_RCU, ..args.clone() };
        CtorCache::create_in(arena, name, &args, ctor, |_: &mut T| {}).map(Self)
    }

    /// As [`TypesafeCache::create_in`], in the process's arena.
    ///
    /// # Errors
    /// As [`TypesafeCache::create_in`].
    pub fn create(
        name: &str,
        args: &CacheArgs,
        ctor: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        Self::create_in(Arena::global()?, name, args, ctor)
    }

    /// Takes an object, as its last owner left it, or as the constructor made it.
    ///
    /// # Errors
    /// As [`CtorCache::alloc`].
    #[inline]
    pub fn alloc(&self) -> Result<TypesafeBox<'_, T, E>, AllocError<E>> {
        self.0.alloc().map(TypesafeBox)
    }
}

impl<T, E> TypesafeCache<T, E> {
    /// The object of a handle, for as long as the read section and the cache last. It may be free, or another than the one
    /// that the handle was made for, and may change at any time; a `T` it is.
    ///
    /// # Safety
    /// The handle is of this cache's. It was read inside this read section, from a place out of which whoever drops the
    /// object's box takes it before.
    #[must_use]
    pub unsafe fn look<'r>(&'r self, _reading: &'r ReadGuard, handle: Handle<T>) -> &'r T {
        // SAFETY: by the caller's word the object's slab cannot have died before the section began, so its pages are there
        // until it ends; each of its objects holds a value until then, which nobody has by exclusive reference.
        unsafe { handle.0.as_ref() }
    }

    /// The cache's attributes.
    #[must_use]
    pub fn info(&self) -> CacheInfo {
        self.0.info()
    }

    /// The cache's counters: see [`RawCache::stats`](crate::RawCache::stats).
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.0.stats()
    }

    /// Kills the slabs that are wholly free; their values are dropped and their pages go after a grace period, which this does
    /// not wait for: see [`RawCache::shrink`](crate::RawCache::shrink).
    #[must_use = "the number of slabs that died"]
    pub fn shrink(&self) -> u64 {
        self.0.shrink()
    }

    /// Drops the values of the dead slabs whose grace period is over, here and now. Returns how many slabs went.
    pub fn reap(&self) -> usize {
        self.0.reap()
    }

    /// Destroys the cache after a grace period, and drops every value before it returns.
    ///
    /// # Errors
    /// With the cache itself: as [`CtorCache::destroy`], and [`Error::InReadSection`] in a read section of this thread.
    pub fn destroy(self) -> Result<(), (Error, Self)> {
        self.0.destroy().map_err(|(error, cache)| (error, Self(cache)))
    }
}

impl<T, E> core::fmt::Debug for TypesafeCache<T, E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TypesafeCache").field("name", &self.info().name).finish_non_exhaustive()
    }
}

/// Where an object of a [`TypesafeCache`] is: what tables hold and readers look up. As a number it is the address.
pub struct Handle<T>(NonNull<T>);

// SAFETY: an address; what it leads to is reached by `look` alone, of a cache whose `T` is `Send` and `Sync`.
unsafe impl<T> Send for Handle<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Handle<T> {}

impl<T> Handle<T> {
    /// The address, never 0, for atomic places that hold handles.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        self.0.as_ptr().expose_provenance() as u64
    }

    /// The handle of an address; `None` for 0. Another number makes a handle that [`TypesafeCache::look`] must not be given.
    #[must_use]
    pub fn from_bits(bits: u64) -> Option<Self> {
        NonNull::new(core::ptr::with_exposed_provenance_mut(bits as usize)).map(Self)
    }
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Handle<T> {}

impl<T> PartialEq for Handle<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Eq for Handle<T> {}

impl<T> core::fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Handle({:p})", self.0)
    }
}

/// An object of a [`TypesafeCache`], owned: no other allocation gets it. It gives shared references only, since readers may look
/// at the same time. Dropping it frees the object; the value stays in it for the next owner.
pub struct TypesafeBox<'c, T, E>(CtorBox<'c, T, E>);

impl<T, E> TypesafeBox<'_, T, E> {
    /// What to put where readers look it up. Take it out of there before the box is dropped.
    #[must_use]
    pub fn handle(&self) -> Handle<T> {
        Handle(NonNull::from(&*self.0))
    }
}

impl<T, E> Deref for TypesafeBox<'_, T, E> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: core::fmt::Debug, E> core::fmt::Debug for TypesafeBox<'_, T, E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        (**self).fmt(f)
    }
}
