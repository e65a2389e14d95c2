//! Static caches: the handle is a `static`, so its address is known when the program is linked.
//!
//! Until `setup` the handle points at a table of slots that always miss, so the inlined path needs no test for it.
//! Source: Al Viro's series on static kmem_cache instances (2026).

use super::arena::Arena;
use super::at_fork;
use super::boxed::{Owned, Owner};
use super::create::CacheArgs;
use super::join::{self, Way};
use super::options::AllocFlags;
use super::raw::RawCache;
use super::typed::{for_type, refusal};
use super::{alloc, free};
use crate::error::Error;
use crate::percpu::{MAX_CPUS, NEGATIVE_SLOTS, Slot, seq};
use crate::sync::PublishedPtr;
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ptr::NonNull;

const TABLE: usize = MAX_CPUS + NEGATIVE_SLOTS;

/// The slots of every cache that is not set up.
#[repr(transparent)]
struct Unset(UnsafeCell<[Slot; TABLE]>);

// SAFETY: nothing ever writes a slot on which everything misses.
unsafe impl Sync for Unset {}

static UNSET: Unset = Unset(UnsafeCell::new([const { Slot::closed() }; TABLE]));

const fn unset_slots() -> *mut Slot {
    UNSET.0.get().cast::<Slot>().wrapping_add(NEGATIVE_SLOTS)
}

/// A cache of objects of type `T` in a `static`.
///
/// ```
/// use haybarn::{CacheArgs, StaticCache};
/// static FRAMES: StaticCache<[u8; 1500]> = StaticCache::new("frames");
/// # fn main() -> Result<(), haybarn::Error> {
/// FRAMES.setup(&CacheArgs::default())?;
/// let mut frame = FRAMES.alloc([0; 1500])?;
/// frame[0] = 1;
/// # Ok(())
/// # }
/// ```
pub struct StaticCache<T> {
    slots: PublishedPtr<Slot>,
    name: &'static str,
    objects: PhantomData<fn() -> T>,
}

/// An owned object of a [`StaticCache`].
pub type StaticBox<T> = Owned<'static, T, StaticCache<T>>;

impl<T> StaticCache<T> {
    /// A cache that is not set up.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { slots: PublishedPtr::new(unset_slots()), name, objects: PhantomData }
    }

    /// Sets the cache up in the process's arena. `args.align` is raised to `T`'s.
    ///
    /// # Errors
    /// [`Error::AlreadySetUp`] the second time; otherwise as [`RawCache::create`], and the cache stays as it was: the setup
    /// may be tried again.
    pub fn setup(&'static self, args: &CacheArgs) -> Result<(), Error> {
        let _one_at_a_time = at_fork::setup();
        if self.is_set_up() {
            return Err(Error::AlreadySetUp { cache: self.name.to_owned() });
        }
        let args = for_type::<T>(self.name, args)?;
        // Others may come to share its slabs, but it shares nobody's.
        let made = join::create(Arena::global()?, self.name, size_of::<T>(), &args, Way::Target)?;
        self.slots.publish(made.storage().slots().0);
        Ok(())
    }

    /// Whether the cache is set up.
    #[must_use]
    pub fn is_set_up(&self) -> bool {
        self.slots.read() != unset_slots()
    }

    /// The untyped handle, once the cache is set up.
    #[must_use]
    pub fn raw(&self) -> Option<RawCache> {
        let slots = self.slots.read();
        if slots == unset_slots() { None } else { RawCache::from_address(slots.expose_provenance()) }
    }

    pub(super) fn set_up(&self) -> Result<RawCache, Error> {
        self.raw().ok_or_else(|| Error::NotSetUp { cache: self.name.to_owned() })
    }

    /// Moves `value` into an object of the cache.
    ///
    /// # Errors
    /// [`Error::NotSetUp`] before `setup`, [`Error::OutOfMemory`]; the value is dropped then.
    #[inline]
    pub fn alloc(&'static self, value: T) -> Result<StaticBox<T>, Error> {
        let Some(object) = self.alloc_raw() else { return Err(self.refusal()) };
        // SAFETY: the object is as large and aligned as `T`, and ours.
        unsafe {
            object.write(value);
            Ok(Owned::from_raw(self, object))
        }
    }

    /// Takes an object without a value; `None` before `setup` and when memory is out.
    #[inline(always)]
    #[must_use]
    pub fn alloc_raw(&self) -> Option<NonNull<T>> {
        // SAFETY: the slots are those of a living cache, or ones that always miss.
        match NonNull::new(unsafe { seq::alloc_at(self.slots.place().cast()) }) {
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
        if !unsafe { seq::free_at(self.slots.place().cast(), object.as_ptr().cast()) } {
            self.free_slow(object);
        }
    }

    #[cold]
    #[inline(never)]
    fn alloc_slow(&self) -> Option<NonNull<T>> {
        alloc::slow(self.raw()?.header(), AllocFlags::empty()).map(NonNull::cast)
    }

    #[cold]
    #[inline(never)]
    fn free_slow(&self, object: NonNull<T>) {
        if let Some(raw) = self.raw() {
            free::slow(raw.header(), object.cast());
        }
    }

    #[cold]
    fn refusal(&self) -> Error {
        self.raw().map_or_else(|| Error::NotSetUp { cache: self.name.to_owned() }, refusal)
    }

    /// Waits until what was given to [`kfree_rcu`](crate::kfree_rcu) before is free: see [`RawCache::rcu_barrier`].
    ///
    /// # Errors
    /// [`Error::NotSetUp`]; [`Error::InReadSection`].
    pub fn rcu_barrier(&'static self) -> Result<(), Error> {
        self.raw().ok_or_else(|| Error::NotSetUp { cache: self.name.to_owned() })?.rcu_barrier()
    }

    /// Ends the cache; afterwards it may be set up again.
    ///
    /// # Errors
    /// [`Error::NotSetUp`]; [`Error::CacheBusy`] with live objects, and the cache stays usable.
    ///
    /// # Safety
    /// Nobody uses the cache during the call, nor a handle from [`StaticCache::raw`] afterwards.
    pub unsafe fn destroy(&'static self) -> Result<(), Error> {
        let _one_at_a_time = at_fork::setup();
        let raw = self.set_up()?;
        let name = raw.arena().find_name(self.name).filter(|name| name.storage() == raw);
        // SAFETY: the caller's word.
        unsafe { name.ok_or_else(|| Error::Destroyed { cache: self.name.to_owned() })?.destroy()? };
        self.slots.publish(unset_slots());
        Ok(())
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
        let raw = self.raw().ok_or_else(|| Error::NotSetUp { cache: self.name.to_owned() })?;
        // SAFETY: the caller's word.
        unsafe { raw.free_rcu(object.cast()) }
    }
}

impl<T> core::fmt::Debug for StaticCache<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("StaticCache").field("name", &self.name).field("set_up", &self.is_set_up()).finish()
    }
}
