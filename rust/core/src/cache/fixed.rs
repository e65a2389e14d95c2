//! Static caches: the handle is a `static`, so its address is known when the program is linked.
//!
//! Until it is set up the handle points at a table of slots that always miss, so the inlined path needs no test for it, and the
//! slow path is where a first use is noticed.
//! Source: Al Viro's series on static kmem_cache instances (2026).

use super::arena::Arena;
use super::boxed::{Owned, Owner};
use super::create::CacheArgs;
use super::names::CacheName;
use super::options::AllocFlags;
use super::raw::RawCache;
use super::storage::CacheStorage;
use super::typed::{for_type, refusal};
use super::{alloc, free};
use crate::error::Error;
use crate::percpu::seq;
use crate::slab::flags::SlabFlags;
use core::marker::PhantomData;
use core::ptr::NonNull;

/// How the first use of a [`StaticCache`] makes it: what of [`CacheArgs`] can be said in a `static`, with the same meaning.
#[derive(Clone, Copy, Debug)]
pub struct StaticArgs {
    /// Alignment of objects in bytes; 0 for the type's own.
    pub align: usize,
    /// Flags.
    pub flags: SlabFlags,
    /// Least capacity of a sheaf in objects.
    pub sheaf_capacity: u32,
    /// Least order of slabs.
    pub min_order: u8,
    /// Count the hits of the inlined paths too.
    pub count_hits: bool,
    /// Keep free pointers encoded.
    pub encode_freeptr: bool,
}

impl StaticArgs {
    /// Nothing is asked for.
    pub const NONE: Self = Self {
        align: 0,
        flags: SlabFlags::empty(),
        sheaf_capacity: 0,
        min_order: 0,
        count_hits: false,
        encode_freeptr: false,
    };
}

impl Default for StaticArgs {
    fn default() -> Self {
        Self::NONE
    }
}

impl From<StaticArgs> for CacheArgs {
    fn from(args: StaticArgs) -> Self {
        let StaticArgs { align, flags, sheaf_capacity, min_order, count_hits, encode_freeptr } = args;
        Self { align, flags, sheaf_capacity, min_order, count_hits, encode_freeptr, ..Self::default() }
    }
}

/// A cache of objects of type `T` in a `static`, usable by every thread before any call: the first use sets it up.
///
/// ```
/// use haybarn::{CacheArgs, SlabFlags, StaticArgs, StaticCache};
/// static FRAMES: StaticCache<[u8; 1500]> = StaticCache::new("frames");
/// static HEADS: StaticCache<[u64; 4]> =
///     StaticCache::with_args("heads", StaticArgs { flags: SlabFlags::HWCACHE_ALIGN, ..StaticArgs::NONE });
/// # fn main() -> Result<(), haybarn::Error> {
/// let mut frame = FRAMES.alloc([0; 1500])?;
/// frame[0] = 1;
/// HEADS.setup(&CacheArgs::default())?; // other arguments than those of the static, or an error now instead of later
/// # Ok(())
/// # }
/// ```
///
/// The first use, if it is no explicit setup, takes locks and memory from the program's allocator. So it is not for signal
/// handlers, nor for the allocator that the program's memory comes from: set such a cache up beforehand. A fork waits for a
/// setup that is going on, so a child finds the cache whole or not there.
#[repr(C)]
pub struct StaticCache<T> {
    storage: CacheStorage,
    name: &'static str,
    /// For the first use.
    args: StaticArgs,
    objects: PhantomData<fn() -> T>,
}

/// An owned object of a [`StaticCache`].
pub type StaticBox<T> = Owned<'static, T, StaticCache<T>>;

impl<T> StaticCache<T> {
    /// A cache that is not set up.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self::with_args(name, StaticArgs::NONE)
    }

    /// A cache that is not set up; a first use takes these arguments, with the alignment raised to `T`'s.
    #[must_use]
    pub const fn with_args(name: &'static str, args: StaticArgs) -> Self {
        Self { storage: CacheStorage::new(), name, args, objects: PhantomData }
    }

    /// Sets the cache up in the process's arena, with these arguments in place of its own. `args.align` is raised to `T`'s.
    ///
    /// # Errors
    /// [`Error::AlreadySetUp`] the second time and after a first use; otherwise as [`CacheStorage::setup`], and the cache
    /// stays as it was: the setup may be tried again.
    pub fn setup(&'static self, args: &CacheArgs) -> Result<(), Error> {
        self.setup_in(Arena::global()?, args)
    }

    /// As [`StaticCache::setup`], in an arena of one's own.
    ///
    /// # Errors
    /// As [`StaticCache::setup`].
    pub fn setup_in(&'static self, arena: &'static Arena, args: &CacheArgs) -> Result<(), Error> {
        self.storage.setup(arena, self.name, size_of::<T>(), &for_type::<T>(self.name, args)?).map(drop)
    }

    /// Whether the cache is set up.
    #[must_use]
    pub fn is_set_up(&self) -> bool {
        self.raw().is_some()
    }

    /// The untyped handle, once the cache is set up.
    #[must_use]
    pub fn raw(&self) -> Option<RawCache> {
        self.storage.raw()
    }

    /// The cache's name with what belongs to it, once it is set up.
    #[must_use]
    pub fn cache_name(&self) -> Option<CacheName> {
        self.storage.name()
    }

    /// The cache, set up now if nobody has.
    pub(super) fn set_up(&'static self) -> Result<RawCache, Error> {
        self.raw().map_or_else(|| self.first_use(), Ok)
    }

    #[cold]
    fn first_use(&'static self) -> Result<RawCache, Error> {
        let args = for_type::<T>(self.name, &self.args.into())?;
        self.storage.get_or_setup(Arena::global()?, self.name, size_of::<T>(), &args)
    }

    /// Moves `value` into an object of the cache.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; on the first use those of [`StaticCache::setup`]. The value is dropped then.
    #[inline]
    pub fn alloc(&'static self, value: T) -> Result<StaticBox<T>, Error> {
        // SAFETY: the slots are those of a living cache, or ones that always miss.
        let object = match NonNull::new(unsafe { seq::alloc_at(self.storage.place().cast()) }) {
            Some(object) => object.cast(),
            None => self.alloc_or_why()?,
        };
        // SAFETY: the object is as large and aligned as `T`, and ours.
        unsafe {
            object.write(value);
            Ok(Owned::from_raw(self, object))
        }
    }

    /// Takes an object without a value; `None` when memory is out, or when the first use cannot set the cache up.
    #[inline(always)]
    #[must_use]
    pub fn alloc_raw(&'static self) -> Option<NonNull<T>> {
        // SAFETY: the slots are those of a living cache, or ones that always miss.
        match NonNull::new(unsafe { seq::alloc_at(self.storage.place().cast()) }) {
            Some(object) => Some(object.cast()),
            None => self.alloc_slow(),
        }
    }

    /// Frees an object whose value is gone.
    ///
    /// # Safety
    /// `object` came from this cache, and the caller gives up its only owner.
    #[inline(always)]
    pub unsafe fn free_raw(&self, object: NonNull<T>) {
        // SAFETY: the caller has an object, so the cache is set up.
        if !unsafe { seq::free_at(self.storage.place().cast(), object.as_ptr().cast()) } {
            self.free_slow(object);
        }
    }

    #[cold]
    #[inline(never)]
    fn alloc_slow(&'static self) -> Option<NonNull<T>> {
        let Some(raw) = self.raw() else { return self.alloc_first() };
        alloc::slow(raw.header(), AllocFlags::empty()).map(NonNull::cast)
    }

    #[cold]
    #[inline(never)]
    fn alloc_first(&'static self) -> Option<NonNull<T>> {
        alloc::slow(self.set_up().ok()?.header(), AllocFlags::empty()).map(NonNull::cast)
    }

    #[cold]
    #[inline(never)]
    fn alloc_or_why(&'static self) -> Result<NonNull<T>, Error> {
        let cache = self.set_up()?;
        let object = alloc::slow(cache.header(), AllocFlags::empty());
        object.map(NonNull::cast).ok_or_else(|| refusal(cache))
    }

    #[cold]
    #[inline(never)]
    fn free_slow(&self, object: NonNull<T>) {
        if let Some(raw) = self.raw() {
            free::slow(raw.header(), object.cast());
        }
    }

    fn not_set_up(&self) -> Error {
        Error::NotSetUp { cache: self.name.to_owned() }
    }

    /// Waits until what was given to [`kfree_rcu`](crate::kfree_rcu) before is free: see [`RawCache::rcu_barrier`].
    ///
    /// # Errors
    /// [`Error::NotSetUp`]; [`Error::InReadSection`].
    pub fn rcu_barrier(&'static self) -> Result<(), Error> {
        self.raw().ok_or_else(|| self.not_set_up())?.rcu_barrier()
    }

    /// Ends the cache. It may be set up again, by a call or by its next use, as soon as nobody holds its name any more.
    ///
    /// # Errors
    /// [`Error::NotSetUp`]; [`Error::CacheBusy`] with live objects, and the cache stays usable.
    ///
    /// # Safety
    /// Nobody uses the cache during the call, nor a handle from [`StaticCache::raw`] afterwards.
    pub unsafe fn destroy(&'static self) -> Result<(), Error> {
        // SAFETY: the caller's word.
        unsafe { self.storage.destroy() }.map_err(|error| match error {
            Error::NotSetUp { .. } => self.not_set_up(),
            error => error,
        })
    }
}

impl<T> Owner<T> for StaticCache<T> {
    #[inline]
    unsafe fn free(&self, object: NonNull<T>) {
        // SAFETY: the caller's word.
        unsafe { self.free_raw(object) };
    }

    #[inline]
    unsafe fn free_nolock(&self, object: NonNull<T>) {
        // SAFETY: the caller's word.
        unsafe { self.free_raw_nolock(object) };
    }

    #[inline]
    unsafe fn free_rcu(&self, object: NonNull<T>) -> Result<(), Error> {
        let raw = self.raw().ok_or_else(|| self.not_set_up())?;
        // SAFETY: the caller's word.
        unsafe { raw.free_rcu(object.cast()) }
    }
}

impl<T> core::fmt::Debug for StaticCache<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("StaticCache").field("name", &self.name).field("set_up", &self.is_set_up()).finish()
    }
}
