//! Caches whose objects are constructed once per slab: safe to use, objects are boxes that hand their value back, alive, for
//! the next owner.
//!
//! For what is costly to make and can be used again: an object with a lock, a buffer, a table. What its last owner left in it
//! is there for the next one.

use super::arena::Arena;
use super::attributes::CacheInfo;
use super::create::CacheArgs;
use super::hooks::{CtorError, Hooks, take_ctor_error};
use super::inspect::CacheStats;
use super::options::AllocFlags;
use super::raw::RawCache;
use super::typed::{for_type, why_not};
use crate::error::Error;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

/// Why an allocation from a [`CtorCache`] failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocError<E> {
    /// The constructor failed; nothing else has changed.
    #[error("the constructor failed: {0}")]
    Ctor(E),
    /// Memory is out, or the call came from inside a callback that it could lead back into.
    #[error(transparent)]
    Cache(Error),
}

/// A cache of objects of type `T` that are constructed when their slab is made and dropped when its pages go; in between they
/// are handed out again and again. `E` is the constructor's error.
///
/// ```
/// use haybarn::{AllocError, CacheArgs, CtorCache};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let buffers = CtorCache::<Vec<u8>, std::convert::Infallible>::create("buffers", &CacheArgs::default(), || {
///     Ok(Vec::with_capacity(64 << 10))
/// })?;
/// let mut buffer = buffers.alloc()?;
/// buffer.clear();
/// buffer.extend_from_slice(b"its memory is there already, and stays for the next owner");
/// # Ok(())
/// # }
/// ```
///
/// Usable from every thread. Dropping it destroys the cache, which drops every object; objects that were leaked
/// (`core::mem::forget`) keep the cache and its memory for good.
pub struct CtorCache<T, E> {
    raw: RawCache,
    objects: PhantomData<fn() -> (T, E)>,
}

impl<T: Send + 'static, E: Send + 'static> CtorCache<T, E> {
    /// Makes a cache in the process's arena. `args.align` is raised to `T`'s; `args.hooks`, `args.private_bytes`
    /// and `args.freeptr_offset` are none.
    ///
    /// `ctor` makes the value of each object of a new slab, on the thread whose allocation needed the slab, with no lock held.
    /// Inside, it does not allocate from the same cache; nor does `T`'s `Drop` allocate from any. See
    /// [`Hooks`] for what is refused and what waits.
    ///
    /// # Errors
    /// As [`RawCache::create`]; [`Error::BadArgument`] for a type of size 0, for hooks and for a `freeptr_offset`.
    pub fn create(
        name: &str,
        args: &CacheArgs,
        ctor: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let hooks = Typed { ctor, dtor: |_: &mut T| {}, has_dtor: core::mem::needs_drop::<T>(), objects: PhantomData };
        Self::with(Arena::global()?, name, args, hooks)
    }

    /// As [`CtorCache::create`], in an arena, with a destructor that is called for each object before it is dropped.
    ///
    /// # Errors
    /// As [`CtorCache::create`].
    pub fn create_in(
        arena: &'static Arena,
        name: &str,
        args: &CacheArgs,
        ctor: impl Fn() -> Result<T, E> + Send + Sync + 'static,
        dtor: impl Fn(&mut T) + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        Self::with(arena, name, args, Typed { ctor, dtor, has_dtor: true, objects: PhantomData })
    }

    fn with(arena: &'static Arena, name: &str, args: &CacheArgs, hooks: impl Hooks + 'static) -> Result<Self, Error> {
        if let Some(offset) = args.freeptr_offset {
            let (argument, legal) =
                ("freeptr_offset", "none: it would lie on the value, which lives in free objects too");
            let (cache, value) = (name.to_owned(), offset.to_string());
            return Err(Error::BadArgument { cache, argument, value, legal: legal.to_owned() });
        }
        let args = CacheArgs { hooks: Some(Arc::new(hooks)), ..for_type::<T>(name, args)? };
        Ok(Self { raw: RawCache::create(arena, name, size_of::<T>(), &args)?, objects: PhantomData })
    }

    /// Takes an object, as its last owner left it, or as the constructor made it.
    ///
    /// # Errors
    /// [`AllocError::Ctor`] with the constructor's error when a new slab was needed; [`AllocError::Cache`] with
    /// [`Error::OutOfMemory`] or [`Error::Reentry`].
    ///
    /// # Panics
    /// Where the constructor does; everything is then as before the call.
    #[inline]
    pub fn alloc(&self) -> Result<CtorBox<'_, T, E>, AllocError<E>> {
        match self.raw.alloc(AllocFlags::empty()) {
            Some(object) => Ok(CtorBox { object: object.cast(), cache: self }),
            None => Err(self.refusal()),
        }
    }

    #[cold]
    fn refusal(&self) -> AllocError<E> {
        let Some(CtorError(error)) = take_ctor_error() else { return AllocError::Cache(why_not(self.raw, None)) };
        match error.downcast::<Said<E>>() {
            Ok(said) => AllocError::Ctor(said.0),
            Err(error) => AllocError::Cache(why_not(self.raw, Some(CtorError(error)))),
        }
    }
}

impl<T, E> CtorCache<T, E> {
    /// The cache's attributes.
    #[must_use]
    pub fn info(&self) -> CacheInfo {
        self.raw.info()
    }

    /// The cache's counters: see [`RawCache::stats`].
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.raw.stats()
    }

    /// Gives back what the cache keeps, which drops the objects of slabs that are wholly free: see [`RawCache::shrink`].
    #[must_use = "the number of slabs released"]
    pub fn shrink(&self) -> u64 {
        self.raw.shrink()
    }

    /// Drops the objects of dead slabs on this thread, whatever the cache's [`DtorMode`](crate::DtorMode). Returns how many
    /// slabs went.
    pub fn reap(&self) -> usize {
        self.raw.reap()
    }

    /// Checks every free list and sheaf: see [`RawCache::validate`].
    ///
    /// # Errors
    /// [`Error::Corruption`].
    pub fn validate(&self) -> Result<(), Error> {
        self.raw.validate()
    }

    /// The untyped handle, for what this type does not have.
    ///
    /// # Safety
    /// The handle, and every copy of it, is not used after the cache has gone, and every object that goes back to the cache by
    /// it holds a value.
    #[must_use]
    pub unsafe fn raw(&self) -> RawCache {
        self.raw
    }

    /// Destroys the cache, and drops every object before it returns.
    ///
    /// # Errors
    /// With the cache itself: [`Error::CacheBusy`] when objects were leaked, [`Error::Reentry`] inside a callback of this cache.
    pub fn destroy(self) -> Result<(), (Error, Self)> {
        // SAFETY: no box is alive, since each borrows the cache; the handle goes with `self`.
        match unsafe { self.raw.destroy() } {
            Ok(()) => {
                core::mem::forget(self);
                Ok(())
            }
            Err(error) => Err((error, self)),
        }
    }
}

impl<T, E> Drop for CtorCache<T, E> {
    fn drop(&mut self) {
        // SAFETY: as in `destroy`. An error means leaked objects: then the cache stays, as its documentation says.
        let _ = unsafe { self.raw.destroy() };
    }
}

impl<T, E> core::fmt::Debug for CtorCache<T, E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("CtorCache").field("name", &self.info().name).finish_non_exhaustive()
    }
}

/// An object of a [`CtorCache`], owned. Dropping the box gives the object back as it is; its value is not dropped.
pub struct CtorBox<'c, T, E> {
    object: NonNull<T>,
    cache: &'c CtorCache<T, E>,
}

// SAFETY: the box is the only way to its value, which may go to another thread; caches are usable from every thread.
unsafe impl<T: Send, E> Send for CtorBox<'_, T, E> {}
// SAFETY: a shared box gives shared references only.
unsafe impl<T: Sync, E> Sync for CtorBox<'_, T, E> {}

impl<T, E> Deref for CtorBox<'_, T, E> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: every object of the cache holds a value, and this one is ours.
        unsafe { self.object.as_ref() }
    }
}

impl<T, E> DerefMut for CtorBox<'_, T, E> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and `self` is borrowed for change.
        unsafe { self.object.as_mut() }
    }
}

impl<T, E> Drop for CtorBox<'_, T, E> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the object is of this cache, and its owner is going.
        unsafe { self.cache.raw.free(self.object.cast()) };
    }
}

impl<T: core::fmt::Debug, E> core::fmt::Debug for CtorBox<'_, T, E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        (**self).fmt(f)
    }
}

/// A constructor's error on its way to `alloc`, told from the allocator's own.
struct Said<E>(E);

struct Typed<T, E, C, D> {
    ctor: C,
    dtor: D,
    has_dtor: bool,
    objects: PhantomData<fn() -> (T, E)>,
}

impl<T, E, C, D> Hooks for Typed<T, E, C, D>
where
    T: Send + 'static,
    E: Send + 'static,
    C: Fn() -> Result<T, E> + Send + Sync,
    D: Fn(&mut T) + Send + Sync,
{
    fn construct(&self, object: NonNull<u8>) -> Result<(), CtorError> {
        match (self.ctor)() {
            Ok(value) => {
                // SAFETY: the object is as large and aligned as `T`, and holds nothing yet.
                unsafe { object.cast::<T>().write(value) };
                Ok(())
            }
            Err(error) => Err(CtorError(Box::new(Said(error)))),
        }
    }

    fn destruct(&self, object: NonNull<u8>) {
        let value = object.cast::<T>();
        // SAFETY: the object holds a value, which nobody uses any more.
        let done = catch_unwind(AssertUnwindSafe(|| (self.dtor)(unsafe { &mut *value.as_ptr() })));
        // Its payload may panic when it is dropped, and must not do so while the value's own panic is on its way up.
        let done = ManuallyDrop::new(done);
        // Not on the way up of the destructor's panic either: the value's drop may panic as well, and two at a time abort.
        // SAFETY: as above; it is dropped once.
        unsafe { value.drop_in_place() };
        if let Err(payload) = ManuallyDrop::into_inner(done) {
            resume_unwind(payload);
        }
    }

    fn has_dtor(&self) -> bool {
        self.has_dtor
    }

    fn symbol(&self) -> String {
        core::any::type_name::<C>().to_owned()
    }
}
