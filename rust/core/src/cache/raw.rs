//! The raw handle: one pointer, and the inlined fast path.

use super::header::{Cache, SLOTS_AT};
use super::options::{AllocFlags, Level};
use super::{alloc, bulk, callbacks, free};
use crate::error::Error;
use crate::pages::NodeId;
use crate::percpu::{Slot, Slots, seq};
use core::ptr::NonNull;

/// A cache, unchecked: the layer under [`crate::KmemCache`] and under the other languages.
///
/// One pointer, free to copy, usable from every thread. Whoever destroys the cache promises that nobody uses a copy
/// afterwards.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(transparent)]
pub struct RawCache(NonNull<Slot>);

// SAFETY: what the pointer leads to is made for use from every thread.
unsafe impl Send for RawCache {}
// SAFETY: as above.
unsafe impl Sync for RawCache {}

impl RawCache {
    pub(super) fn from_address(address: usize) -> Option<Self> {
        NonNull::new(core::ptr::with_exposed_provenance_mut(address)).map(Self)
    }

    pub(super) fn address(self) -> usize {
        self.0.as_ptr().expose_provenance()
    }

    /// Address of the block that header, slots and areas lie in.
    pub(super) fn block(self) -> usize {
        self.0.as_ptr().wrapping_byte_sub(SLOTS_AT).expose_provenance()
    }

    pub(super) fn of(cache: &Cache) -> Self {
        // SAFETY: a place inside the cache's block is not null.
        Self(unsafe { NonNull::new_unchecked(cache.slots().0) })
    }

    #[inline(always)]
    pub(super) fn slots(self) -> Slots {
        Slots(self.0.as_ptr())
    }

    pub(crate) fn header(self) -> &'static Cache {
        // SAFETY: the header lies at this distance in front of CPU 0's slot; the cache lives while handles are in use.
        unsafe { &*self.0.as_ptr().wrapping_byte_sub(SLOTS_AT).cast() }
    }

    /// Takes an object; `None` when memory is out, and in a cache with hooks also for the reason that
    /// [`take_ctor_error`](crate::take_ctor_error) tells: its constructor failed, or the call was refused.
    ///
    /// The object is `object_size` bytes at the cache's alignment, with contents left by its last user unless `ZERO`. Never
    /// blocks on another thread. Source: `kmem_cache_alloc` (mm/slub.c).
    #[inline(always)]
    #[must_use]
    pub fn alloc(self, flags: AllocFlags) -> Option<NonNull<u8>> {
        // SAFETY: the cache lives, by the promise of who destroys it.
        match NonNull::new(unsafe { seq::alloc(self.slots()) }) {
            Some(object) if flags.is_empty() => Some(object),
            Some(object) => alloc::finish_hit(self.header(), object, flags),
            None => alloc::slow(self.header(), flags),
        }
    }

    /// As [`RawCache::alloc`], for a cache that was made with `count_hits`: its hits are counted exactly.
    #[inline(always)]
    #[must_use]
    pub fn alloc_counted(self, flags: AllocFlags) -> Option<NonNull<u8>> {
        // SAFETY: as in `alloc`.
        match NonNull::new(unsafe { seq::alloc_counted(self.slots()) }) {
            Some(object) if flags.is_empty() => Some(object),
            Some(object) => alloc::finish_hit(self.header(), object, flags),
            None => alloc::slow(self.header(), flags),
        }
    }

    /// Whether this thread may allocate from the cache now: for bindings, whose own paths may hit where the slow paths, which
    /// ask this too, are not come to.
    ///
    /// # Errors
    /// [`Error::Reentry`] inside a constructor of this cache, and inside every destructor.
    pub fn check_callbacks(self) -> Result<(), Error> {
        callbacks::check_alloc(self.header())
    }

    /// Takes an object of a node's memory: of that node if it can be had, else of another unless `THISNODE`. Numbers wrap at
    /// the arena's node count ([`Arena::nodes`](crate::Arena::nodes)). `None` as [`RawCache::alloc`], and with `THISNODE` also where only that node's
    /// memory is out. Source: `kmem_cache_alloc_node`.
    #[must_use]
    pub fn alloc_node(self, flags: AllocFlags, node: u32) -> Option<NonNull<u8>> {
        let node = NodeId((node % self.header().arena.nodes) as u8);
        alloc::traced(self.header(), flags, Some(node)).map(|(object, _)| object)
    }

    /// As [`RawCache::alloc`], by the same inlined path, and says how deep it had to go.
    #[inline(always)]
    #[must_use]
    pub fn alloc_level(self, flags: AllocFlags) -> Option<(NonNull<u8>, Level)> {
        // SAFETY: as in `alloc`.
        match NonNull::new(unsafe { seq::alloc(self.slots()) }) {
            Some(object) if flags.is_empty() => Some((object, Level::Sheaf)),
            Some(object) => Some((alloc::finish_hit(self.header(), object, flags)?, Level::Sheaf)),
            None => alloc::traced(self.header(), flags, None),
        }
    }

    /// Gives an object back. Never blocks on another thread. Source: `kmem_cache_free`.
    ///
    /// # Safety
    /// `object` was allocated from this cache, and the caller gives up its only owner.
    #[inline(always)]
    pub unsafe fn free(self, object: NonNull<u8>) {
        // SAFETY: the caller's word.
        if !unsafe { seq::free(self.slots(), object.as_ptr()) } {
            free::slow(self.header(), object);
        }
    }

    /// As [`RawCache::free`], for a cache that was made with `count_hits`.
    ///
    /// # Safety
    /// As [`RawCache::free`].
    #[inline(always)]
    pub unsafe fn free_counted(self, object: NonNull<u8>) {
        // SAFETY: the caller's word.
        if !unsafe { seq::free_counted(self.slots(), object.as_ptr()) } {
            free::slow(self.header(), object);
        }
    }

    /// The inlined hit alone: null where only [`RawCache::alloc`] can tell.
    #[inline(always)]
    pub(crate) fn hit(self) -> *mut u8 {
        // SAFETY: as in `alloc`.
        unsafe { seq::alloc(self.slots()) }
    }

    /// The inlined way of [`RawCache::free`] alone: false where the object is still the caller's to free.
    ///
    /// # Safety
    /// As [`RawCache::free`].
    #[inline(always)]
    pub(crate) unsafe fn put(self, object: NonNull<u8>) -> bool {
        // SAFETY: the caller's word.
        unsafe { seq::free(self.slots(), object.as_ptr()) }
    }

    /// The inlined hit alone, of the cache whose handle lies at `place`: null where only [`RawCache::alloc`] can tell. For
    /// entries of other languages, which come to their own slow path by a call.
    ///
    /// # Safety
    /// At `place` lies the handle of a living cache, or of one that is not set up.
    #[doc(hidden)]
    #[inline(always)]
    #[must_use]
    pub unsafe fn hit_at(place: *const Self) -> *mut u8 {
        // SAFETY: the caller's word; a handle is its slots' address.
        unsafe { seq::alloc_at(place.cast()) }
    }

    /// The inlined way of [`RawCache::free`] alone, of the cache whose handle lies at `place`: false where the object is still
    /// the caller's to free.
    ///
    /// # Safety
    /// As [`RawCache::hit_at`] and [`RawCache::free`].
    #[doc(hidden)]
    #[inline(always)]
    #[must_use]
    pub unsafe fn put_at(place: *const Self, object: NonNull<u8>) -> bool {
        // SAFETY: the caller's word; a handle is its slots' address.
        unsafe { seq::free_at(place.cast(), object.as_ptr()) }
    }

    /// Counts an object that was allocated without [`AllocFlags::ACCOUNT`] in `accounted` afterwards. Source:
    /// `kmem_cache_charge`.
    pub fn charge(self) {
        alloc::account(self.header());
    }

    /// Fills `out` with objects; all or nothing. After `false`, what `out` holds means nothing. Source:
    /// `kmem_cache_alloc_bulk`.
    #[must_use]
    pub fn alloc_bulk(self, flags: AllocFlags, out: &mut [*mut u8]) -> bool {
        bulk::alloc(self.header(), flags, out)
    }

    /// Gives objects back; the slice is used as scratch. Source: `kmem_cache_free_bulk`.
    ///
    /// # Safety
    /// As [`RawCache::free`], for each object; no object is there twice.
    pub unsafe fn free_bulk(self, objects: &mut [*mut u8]) {
        bulk::free(self.header(), objects);
    }
}
