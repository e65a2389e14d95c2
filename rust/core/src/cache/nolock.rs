//! Allocation and free from any context, signal handlers included.
//!
//! The ordinary paths hold no lock, so a handler may come in at any of their instructions. What is left out here is what a
//! handler may not do: ask the system for memory or give it back, run foreign code, kick the service thread. So an operation
//! works with what there is: sheaves and barns, slabs with free objects, and new slabs of pages that the arena has had before.
//! A slab that becomes empty stays. Who finds a slot's flag taken, which may be by the thread that the handler interrupted, goes
//! to the slabs.
//!
//! Source: `kmalloc_nolock`, `kfree_nolock` (mm/slub.c), K§2.20.

use super::boxed::{Owned, Owner};
use super::fixed::StaticCache;
use super::header::Cache;
use super::options::AllocFlags;
use super::raw::RawCache;
use super::slabs::At;
use super::typed::{CacheBox, KmemCache};
use crate::pages::NodeId;
use crate::percpu::seq;
use crate::stats::Stat;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

impl RawCache {
    /// Takes an object without a lock, a system call or foreign code: for signal handlers, whatever they interrupt, and for any
    /// other context. Not asked whether a fault of [`fail_slab`](crate::fault::fail_slab) wants it to fail, as in Linux.
    ///
    /// `None`: memory is out, or pages would have to come from the system; also with `ZERO` in a cache with hooks, and where only
    /// a new slab would help whose objects would have to be constructed. Do not call it again in a loop: nothing changes
    /// inside the handler. What [`take_ctor_error`](crate::take_ctor_error) says is not about this call.
    ///
    /// Source: `kmem_cache_alloc` as `kmalloc_nolock` calls it (K§2.20).
    #[inline]
    #[must_use]
    pub fn alloc_nolock(self, flags: AllocFlags) -> Option<NonNull<u8>> {
        // SAFETY: the cache lives, by the promise of who destroys it.
        match NonNull::new(unsafe { seq::alloc(self.slots()) }) {
            Some(object) if flags.is_empty() => Some(object),
            found => alloc(self.header(), flags, None, found),
        }
    }

    /// As [`RawCache::alloc_nolock`], an object of a node's memory: of that node if it can be had so, else of another unless
    /// `THISNODE`. Numbers wrap at the arena's node count.
    #[must_use]
    pub fn alloc_node_nolock(self, flags: AllocFlags, node: u32) -> Option<NonNull<u8>> {
        let cache = self.header();
        alloc(cache, flags, Some(NodeId((node % cache.arena.nodes) as u8)), None)
    }

    /// Gives an object back without a lock, a system call or foreign code: for signal handlers, whatever they interrupt, and for
    /// any other context. Objects of [`RawCache::alloc`] may go this way, and those of [`RawCache::alloc_nolock`] the ordinary one.
    ///
    /// A slab that it empties stays in its cache, for the next allocations; [`RawCache::shrink`] gives it back.
    ///
    /// Source: `kfree_nolock` (K§2.20). Nothing is deferred here: the step that gives an object to its slab has no lock to wait for.
    ///
    /// # Safety
    /// As [`RawCache::free`].
    #[inline]
    pub unsafe fn free_nolock(self, object: NonNull<u8>) {
        // SAFETY: the caller's word.
        if !unsafe { seq::free(self.slots(), object.as_ptr()) } {
            free(self.header(), object);
        }
    }
}

#[cold]
#[inline(never)]
fn alloc(cache: &Cache, flags: AllocFlags, node: Option<NodeId>, hit: Option<NonNull<u8>>) -> Option<NonNull<u8>> {
    let at = At::nolock(cache);
    // Only constructors fail, and none runs.
    let found = match hit {
        Some(object) => at.keep_or_exchange(object, flags),
        None => at.pick(flags, node),
    };
    let (object, _) = found.ok().flatten()?;
    at.finish_nolock(object, flags)
}

#[cold]
#[inline(never)]
fn free(cache: &Cache, object: NonNull<u8>) {
    let (at, object) = (At::nolock(cache), object.as_ptr());
    if at.is_remote(object) || !at.put_in_sheaves(object) {
        at.bump(Stat::FreeSlowpath, 1);
        at.free_to_slab(object);
    }
}

impl At<'_> {
    /// What the options ask of an object that was found.
    fn finish_nolock(&self, object: NonNull<u8>, flags: AllocFlags) -> Option<NonNull<u8>> {
        if flags.contains(AllocFlags::ZERO) {
            if self.cache.hooks.is_some() {
                free(self.cache, object);
                return None;
            }
            // SAFETY: the object is ours, and as large as the largest object of a name.
            unsafe { object.as_ptr().write_bytes(0, self.cache.object_bytes.get() as usize) };
        }
        if flags.contains(AllocFlags::ACCOUNT) {
            self.bump(Stat::Accounted, 1);
        }
        Some(object)
    }
}

impl<T> KmemCache<T> {
    /// Moves `value` into an object of the cache, as [`RawCache::alloc_nolock`]. In a handler the box must end by
    /// [`Owned::free_nolock`] or [`Owned::into_raw`]: dropping it is an ordinary free.
    ///
    /// # Errors
    /// The value itself, where that gives `None`.
    #[inline]
    pub fn alloc_nolock(&self, value: T) -> Result<CacheBox<'_, T>, T> {
        // SAFETY: the handle is not kept.
        let raw = unsafe { self.raw() };
        let Some(object) = raw.alloc_nolock(AllocFlags::empty()) else { return Err(value) };
        let object = object.cast::<T>();
        // SAFETY: the object is as large and aligned as `T`, and ours; it holds a value then and has no other owner.
        unsafe {
            object.write(value);
            Ok(CacheBox::from_raw(self, object))
        }
    }
}

impl<T> StaticCache<T> {
    /// Takes an object without a value, as [`RawCache::alloc_nolock`]; `None` also before the cache is set up, which a handler
    /// cannot do.
    #[inline]
    #[must_use]
    pub fn alloc_raw_nolock(&self) -> Option<NonNull<T>> {
        self.raw()?.alloc_nolock(AllocFlags::empty()).map(NonNull::cast)
    }

    /// Frees an object whose value is gone, as [`RawCache::free_nolock`].
    ///
    /// # Safety
    /// `object` came from this cache, and the caller gives up its only owner.
    #[inline]
    pub unsafe fn free_raw_nolock(&self, object: NonNull<T>) {
        if let Some(raw) = self.raw() {
            // SAFETY: the caller's word.
            unsafe { raw.free_nolock(object.cast()) };
        }
    }
}

impl<T, C: Owner<T>> Owned<'_, T, C> {
    /// Drops the value and frees the object as [`RawCache::free_nolock`] does; that the value's destructor may run in this
    /// context is the caller's business.
    pub fn free_nolock(this: Self) {
        /// Frees the object even if the value's destructor panics.
        struct Free<'b, T, C: Owner<T>>(&'b C, NonNull<T>);
        impl<T, C: Owner<T>> Drop for Free<'_, T, C> {
            fn drop(&mut self) {
                // SAFETY: the object is of this cache and its owner is going.
                unsafe { self.0.free_nolock(self.1) };
            }
        }
        let this = ManuallyDrop::new(this);
        let free = Free(this.owner(), this.place());
        // SAFETY: the value is ours and not used again.
        unsafe { free.1.drop_in_place() };
    }
}
