//! The owning box of a typed cache's object.

use crate::error::Error;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

/// What a box needs of its cache.
pub trait Owner<T> {
    /// Frees an object whose value is gone.
    ///
    /// # Safety
    /// The object is of this cache and nobody uses it any more.
    unsafe fn free(&self, object: NonNull<T>);

    /// As [`Owner::free`], for any context: see [`RawCache::free_nolock`](crate::RawCache::free_nolock).
    ///
    /// # Safety
    /// As [`Owner::free`].
    unsafe fn free_nolock(&self, object: NonNull<T>);

    /// Frees an object after a grace period; its value stays until then.
    ///
    /// # Errors
    /// As [`RawCache::free_rcu`](crate::RawCache::free_rcu).
    ///
    /// # Safety
    /// As [`RawCache::free_rcu`](crate::RawCache::free_rcu).
    unsafe fn free_rcu(&self, object: NonNull<T>) -> Result<(), Error>;
}

/// Frees an object after a grace period: readers that may still see it find its value until their section ends. See
/// [`RawCache::free_rcu`](crate::RawCache::free_rcu). No destructor runs, so a type that needs one is refused when this is compiled.
///
/// Source: `kfree_rcu`.
///
/// # Errors
/// [`Error::InReadSection`] with the object itself: no memory for a batch, and the thread is in a read section.
pub fn kfree_rcu<'c, T, C: Owner<T>>(object: Owned<'c, T, C>) -> Result<(), (Error, Owned<'c, T, C>)> {
    const { assert!(!core::mem::needs_drop::<T>(), "kfree_rcu runs no destructor: the type must not need one") };
    let object = ManuallyDrop::new(object);
    // SAFETY: the object has no other owner, and the box is not used unless it stays one.
    match unsafe { object.cache.free_rcu(object.object) } {
        Ok(()) => Ok(()),
        Err(error) => Err((error, ManuallyDrop::into_inner(object))),
    }
}

/// An object of a typed cache `C`, owned: see [`crate::CacheBox`] and [`crate::StaticBox`]. Dropping it drops the value and frees the object.
pub struct Owned<'c, T, C: Owner<T>> {
    object: NonNull<T>,
    cache: &'c C,
}

// SAFETY: the box owns its value, as `Box` does; caches are usable from every thread.
unsafe impl<T: Send, C: Owner<T> + Sync> Send for Owned<'_, T, C> {}
// SAFETY: as above.
unsafe impl<T: Sync, C: Owner<T> + Sync> Sync for Owned<'_, T, C> {}

impl<'c, T, C: Owner<T>> Owned<'c, T, C> {
    /// Takes the value out and frees the object.
    #[must_use]
    pub fn into_inner(this: Self) -> T {
        let this = ManuallyDrop::new(this);
        // SAFETY: the value is moved out once, and the object freed once, as `this` is never dropped.
        unsafe {
            let value = this.object.read();
            this.cache.free(this.object);
            value
        }
    }

    /// Gives up ownership; the object stays allocated.
    #[must_use]
    pub fn into_raw(this: Self) -> NonNull<T> {
        ManuallyDrop::new(this).object
    }

    pub(super) fn owner(&self) -> &'c C {
        self.cache
    }

    pub(super) fn place(&self) -> NonNull<T> {
        self.object
    }

    /// Takes ownership of an object that holds a value.
    ///
    /// # Safety
    /// `object` is of `cache`, holds a value, and has no other owner: for instance it came from [`Owned::into_raw`].
    #[inline]
    #[must_use]
    pub unsafe fn from_raw(cache: &'c C, object: NonNull<T>) -> Self {
        Self { object, cache }
    }
}

impl<T, C: Owner<T>> Deref for Owned<'_, T, C> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the object holds a value of ours.
        unsafe { self.object.as_ref() }
    }
}

impl<T, C: Owner<T>> DerefMut for Owned<'_, T, C> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and `self` is borrowed for change.
        unsafe { self.object.as_mut() }
    }
}

impl<T, C: Owner<T>> Drop for Owned<'_, T, C> {
    #[inline]
    fn drop(&mut self) {
        /// Frees the object even if the value's destructor panics.
        struct Free<'b, T, C: Owner<T>>(&'b C, NonNull<T>);
        impl<T, C: Owner<T>> Drop for Free<'_, T, C> {
            #[inline]
            fn drop(&mut self) {
                // SAFETY: the object is of this cache and its owner is going.
                unsafe { self.0.free(self.1) };
            }
        }
        let free = Free(self.cache, self.object);
        // SAFETY: the value is ours and not used again.
        unsafe { free.1.drop_in_place() };
    }
}

impl<T: core::fmt::Debug, C: Owner<T>> core::fmt::Debug for Owned<'_, T, C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        (**self).fmt(f)
    }
}
