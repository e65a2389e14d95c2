//! Prefilled sheaves of typed caches: what comes out of them are owned boxes.

use super::boxed::{Owned, Owner};
use super::fixed::StaticCache;
use super::options::AllocFlags;
use super::prefill::RawPrefilled;
use super::typed::KmemCache;
use crate::error::Error;
use core::marker::PhantomData;

/// A sheaf of a typed cache with objects set aside: as many allocations as it has objects cannot fail.
///
/// Dropping it returns the sheaf. It borrows its cache, which cannot go meanwhile.
///
/// ```
/// use haybarn::{CacheArgs, KmemCache};
/// # fn main() -> Result<(), haybarn::Error> {
/// let cache = KmemCache::<[u64; 4]>::create("nodes-of-a-split", &CacheArgs::default())?;
/// let mut sheaf = cache.prefill(3)?;
/// // From here on nothing can fail, whatever becomes of the memory.
/// let (left, right) = (sheaf.alloc([1; 4])?, sheaf.alloc([2; 4])?);
/// assert_eq!(left[0] + right[0], 3);
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping it returns the sheaf"]
pub struct Prefilled<'c, T, C: Owner<T> = KmemCache<T>> {
    raw: RawPrefilled,
    cache: &'c C,
    objects: PhantomData<fn() -> T>,
}

/// A prefilled sheaf of a [`StaticCache`].
pub type StaticPrefilled<T> = Prefilled<'static, T, StaticCache<T>>;

impl<'c, T, C: Owner<T>> Prefilled<'c, T, C> {
    /// # Safety
    /// The sheaf is of that cache, whose objects are as large and aligned as `T`.
    pub(super) unsafe fn new(raw: RawPrefilled, cache: &'c C) -> Self {
        Self { raw, cache, objects: PhantomData }
    }

    /// Moves `value` into an object of the sheaf.
    ///
    /// # Errors
    /// [`Error::SheafEmpty`], and nothing else; the value is dropped then.
    #[inline]
    pub fn alloc(&mut self, value: T) -> Result<Owned<'c, T, C>, Error> {
        let Some(object) = self.raw.alloc(AllocFlags::empty()) else { return Err(self.empty()) };
        let object = object.cast::<T>();
        // SAFETY: the object is as large and aligned as `T`, and ours; it holds a value afterwards and has no other owner.
        unsafe {
            object.write(value);
            Ok(Owned::from_raw(self.cache, object))
        }
    }

    #[cold]
    fn empty(&self) -> Error {
        Error::SheafEmpty { cache: self.raw.cache().header().name().to_owned() }
    }

    /// Objects that are left in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// Objects that it has room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.raw.capacity()
    }

    /// Sees to it that at least `n` objects are in the sheaf: see [`RawPrefilled::refill`].
    ///
    /// # Errors
    /// As [`KmemCache::prefill`]; the sheaf is then as it was.
    pub fn refill(&mut self, n: usize) -> Result<(), Error> {
        self.raw.refill(AllocFlags::empty(), n)
    }

    /// Returns the sheaf and what is left in it; the same as dropping it.
    pub fn give_back(self) {}
}

impl<T, C: Owner<T>> core::fmt::Debug for Prefilled<'_, T, C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Prefilled")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

impl<T> KmemCache<T> {
    /// Sets `n` objects aside, so that `n` allocations cannot fail: see [`super::RawCache::prefill`].
    ///
    /// # Errors
    /// [`Error::BadArgument`] when `n` is 0 or above `u32::MAX`; [`Error::OutOfMemory`].
    pub fn prefill(&self, n: usize) -> Result<Prefilled<'_, T>, Error> {
        // SAFETY: the handle is not kept beyond the borrow of the cache, by the sheaf's lifetime.
        let raw = unsafe { self.raw() }.prefill(AllocFlags::empty(), n)?;
        // SAFETY: the sheaf is of this cache, which was made for `T`.
        Ok(unsafe { Prefilled::new(raw, self) })
    }
}

impl<T> StaticCache<T> {
    /// Sets `n` objects aside, so that `n` allocations cannot fail: see [`super::RawCache::prefill`].
    ///
    /// # Errors
    /// As [`KmemCache::prefill`]; on the first use those of [`StaticCache::setup`].
    pub fn prefill(&'static self, n: usize) -> Result<StaticPrefilled<T>, Error> {
        let cache = self.set_up()?;
        let raw = cache.prefill(AllocFlags::empty(), n)?;
        // SAFETY: as above.
        Ok(unsafe { Prefilled::new(raw, self) })
    }
}
