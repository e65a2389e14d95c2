//! Giving back by address: the page map says to whom. Source: `kfree`, `__ksize`, `kmem_cache_free_bulk` without a cache
//! (mm/slub.c), `kfree_sensitive` (mm/slab_common.c), `kvfree` (mm/util.c).

use super::classes::ZERO_SIZE_PTR;
use crate::cache::{Arena, Found, RawCache};
use crate::error::Error;
use crate::pages::PAGE_SIZE;
use crate::sync::Bug;
use core::ptr::NonNull;

/// Whether there is memory behind the pointer: null and [`ZERO_SIZE_PTR`] have none.
pub(super) fn has_memory(object: *mut u8) -> Option<NonNull<u8>> {
    NonNull::new(object).filter(|&object| object != ZERO_SIZE_PTR)
}

/// # Safety
/// `object` is live memory of the arena, or none of its at all.
#[inline]
unsafe fn try_found(arena: &'static Arena, object: NonNull<u8>) -> Result<Found, Error> {
    // SAFETY: the caller's word.
    let found = unsafe { arena.find(object.as_ptr().addr()) };
    found.ok_or_else(|| bad(object, "it is no memory of this arena's kmalloc"))
}

#[cold]
fn bad(object: NonNull<u8>, why: &'static str) -> Error {
    Error::BadPointer { cache: String::new(), address: object.as_ptr().addr(), why }
}

/// # Safety
/// As [`try_found`].
#[inline]
unsafe fn found(arena: &'static Arena, object: NonNull<u8>) -> Found {
    // SAFETY: the caller's word.
    unsafe { try_found(arena, object) }.unwrap_or_else(|error| panic!("{error}"))
}

/// Gives memory back that [`kmalloc`](super::kmalloc), [`kvmalloc`](super::kvmalloc), a [`KmemBuckets`](super::KmemBuckets) or,
/// as in Linux, any cache of the arena has given. Null and [`ZERO_SIZE_PTR`]: nothing happens.
///
/// # Panics
/// Where the address is foreign or was given back; by no means always.
///
/// # Safety
/// `object` is null, [`ZERO_SIZE_PTR`] or such memory, live, and the caller gives up its only owner.
#[inline]
pub unsafe fn kfree(arena: &'static Arena, object: *mut u8) {
    // SAFETY: the caller's word.
    if let Err(error) = unsafe { try_kfree(arena, object) } {
        panic!("{error}");
    }
}

/// The inlined way of [`kfree`] alone: false where the memory is still the caller's to free.
///
/// # Safety
/// As [`try_kfree`].
#[doc(hidden)]
#[must_use]
#[inline(always)]
pub unsafe fn put(arena: &'static Arena, object: *mut u8) -> bool {
    let Some(object) = has_memory(object) else { return false };
    // SAFETY: the caller's word, here and below.
    match unsafe { arena.find(object.as_ptr().addr()) } {
        // SAFETY: as above.
        Some(Found::Object(cache)) => unsafe { cache.put(object) },
        _ => false,
    }
}

/// [`kfree`] with an error where that panics. It takes no lock, so it sees no more than that does.
///
/// # Errors
/// [`Error::BadPointer`] for an address outside of the arena and for one on a page where nothing is that can be freed; nothing
/// has changed then.
///
/// # Safety
/// As [`kfree`], if anything of the arena lies there.
#[inline]
pub unsafe fn try_kfree(arena: &'static Arena, object: *mut u8) -> Result<(), Error> {
    // SAFETY: the caller's word.
    unsafe { free_by(arena, object, |cache, object| cache.free(object)) }
}

/// # Safety
/// As [`try_kfree`]; `free` gives an object of that cache back.
#[inline(always)]
pub(super) unsafe fn free_by(
    arena: &'static Arena,
    object: *mut u8,
    free: impl FnOnce(RawCache, NonNull<u8>),
) -> Result<(), Error> {
    let Some(object) = has_memory(object) else { return Ok(()) };
    // SAFETY: the caller's word.
    match unsafe { try_found(arena, object) }? {
        Found::Object(cache) => free(cache, object),
        Found::Large(..) if !object.as_ptr().addr().is_multiple_of(PAGE_SIZE) => {
            return Err(bad(object, "the address is interior or misaligned: not the start of the pages"));
        }
        Found::Large(page, _) if arena.free_large(page) => (),
        Found::Large(..) => return Err(bad(object, "the pages were given back twice")),
    }
    Ok(())
}

/// [`kfree`] that first looks whether something of the arena starts at the address. It takes a lock.
///
/// # Errors
/// [`Error::BadPointer`] for an address that is foreign, interior or misaligned; nothing has changed then. That an object was
/// freed already cannot be seen.
///
/// # Safety
/// As [`kfree`], if anything starts there.
pub unsafe fn kfree_checked(arena: &'static Arena, object: *mut u8) -> Result<(), Error> {
    let Some(object) = has_memory(object) else { return Ok(()) };
    match arena.find_checked(object.as_ptr().addr())?.0 {
        // SAFETY: an object of this cache starts there; the rest is the caller's word.
        Found::Object(cache) => unsafe { cache.free(object) },
        Found::Large(page, _) if arena.free_large(page) => (),
        Found::Large(..) => return Err(bad(object, "the pages were given back twice")),
    }
    Ok(())
}

/// [`kfree`] for what [`kvmalloc`](super::kvmalloc) gave. In Linux they differ; here the page map knows both.
///
/// # Safety
/// As [`kfree`].
pub unsafe fn kvfree(arena: &'static Arena, object: *mut u8) {
    // SAFETY: the caller's word.
    unsafe { kfree(arena, object) };
}

/// [`kfree`] after overwriting all [`ksize`] bytes with zeroes, in a way that no compiler takes for useless.
///
/// # Safety
/// As [`kfree`].
pub unsafe fn kfree_sensitive(arena: &'static Arena, object: *mut u8) {
    // SAFETY: the caller's word, here and below.
    let bytes = unsafe { ksize(arena, object) };
    if bytes > 0 {
        // SAFETY: so many bytes there are the caller's.
        unsafe { object.write_bytes(0, bytes) };
        core::hint::black_box(object);
    }
    // SAFETY: as above.
    unsafe { kfree(arena, object) };
}

/// Gives back many, of whatever sizes: those of one cache at once. The slice is used as scratch. Null and [`ZERO_SIZE_PTR`] may
/// be among them.
///
/// # Safety
/// As [`kfree`], for each; none is there twice.
pub unsafe fn kfree_bulk(arena: &'static Arena, objects: &mut [*mut u8]) {
    let mut rest = objects;
    while let Some(&first) = rest.first() {
        let mut same = 1;
        // SAFETY: the caller's word, here and below: none of the rest has been freed yet.
        let cache = unsafe { cache_of(arena, first) };
        if let Some(cache) = cache {
            for at in 1..rest.len() {
                // SAFETY: as above.
                let other = unsafe { cache_of(arena, rest[at]) };
                if other == Some(cache) || (Bug::BulkByFirst.planted() && other.is_some()) {
                    rest.swap(same, at);
                    same += 1;
                }
            }
        }
        let (group, others) = rest.split_at_mut(same);
        // SAFETY: as above; the group is of this cache, or it is one that no cache has.
        unsafe {
            match cache {
                Some(cache) => cache.free_bulk(group),
                None => kfree(arena, first),
            }
        }
        rest = others;
    }
}

/// The cache whose object lies there, without a lock; `None` where none does.
///
/// # Safety
/// As [`try_kfree`].
#[doc(hidden)]
#[must_use]
pub unsafe fn cache_at(arena: &'static Arena, object: *mut u8) -> Option<RawCache> {
    // SAFETY: the caller's word.
    match unsafe { arena.find(has_memory(object)?.as_ptr().addr()) }? {
        Found::Object(cache) => Some(cache),
        Found::Large(..) => None,
    }
}

/// # Safety
/// As [`kfree`].
unsafe fn cache_of(arena: &'static Arena, object: *mut u8) -> Option<RawCache> {
    // SAFETY: the caller's word.
    match unsafe { found(arena, has_memory(object)?) } {
        Found::Object(cache) => Some(cache),
        Found::Large(..) => None,
    }
}

/// Bytes that may be used there: the whole class, or all of the pages; of any other cache its object size. 0 for null and
/// [`ZERO_SIZE_PTR`].
///
/// # Panics
/// Where the address is foreign or was given back; by no means always.
///
/// # Safety
/// `object` is null, [`ZERO_SIZE_PTR`] or live memory of the arena.
#[must_use]
pub unsafe fn ksize(arena: &'static Arena, object: *mut u8) -> usize {
    let Some(object) = has_memory(object) else { return 0 };
    // SAFETY: the caller's word.
    size_of_found(&unsafe { found(arena, object) })
}

/// [`ksize`] for any address: safe, and takes a lock.
///
/// # Errors
/// [`Error::BadPointer`] for an address that is foreign, interior or misaligned.
pub fn ksize_checked(arena: &'static Arena, object: *const u8) -> Result<usize, Error> {
    let Some(object) = has_memory(object.cast_mut()) else { return Ok(0) };
    arena.checked_size(object.as_ptr().addr())
}

/// [`ksize`] with an error where that panics; no lock.
///
/// # Errors
/// As [`try_kfree`].
///
/// # Safety
/// As [`ksize`], if anything of the arena lies there.
pub unsafe fn try_ksize(arena: &'static Arena, object: *mut u8) -> Result<usize, Error> {
    let Some(object) = has_memory(object) else { return Ok(0) };
    // SAFETY: the caller's word.
    unsafe { try_found(arena, object) }.map(|found| size_of_found(&found))
}

fn size_of_found(found: &Found) -> usize {
    match *found {
        Found::Object(cache) => cache.object_size(),
        Found::Large(_, bytes) => bytes,
    }
}
