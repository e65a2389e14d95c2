//! What a `struct kmem_cache` is: a name of a cache, at an address that begins with the word that the inlined paths load.

use crate::abi::{__GFP_NOWARN, gfp_t};
use crate::failure::{Failure, no_object};
use crate::process;
use crate::wanted::Wanted;
use core::ptr::{NonNull, null_mut};
use haybarn_core::sync::PublishedPtr;
use haybarn_core::{AllocFlags, Arena, CacheArgs, CacheName, CacheStorage, Error, RawCache, SlabFlags};

/// A cache: from kmem_cache_create, or what to_kmem_cache makes of a kmem_cache_opaque.
pub struct kmem_cache(());

/// A cache of kmem_cache_create. The others are a [`CacheStorage`].
#[repr(C, align(64))]
struct Dynamic {
    /// The storage that the name has: the word that a [`CacheStorage`] has there.
    slots: RawCache,
    name: CacheName,
    /// As large as the other kind.
    _rest: [u64; 4],
}

const _: () = assert!(size_of::<Dynamic>() == CacheStorage::SIZE && align_of::<Dynamic>() == CacheStorage::ALIGN);

const NULL: Failure = Failure::Is(libc::EINVAL, "the cache is NULL");
const ODD: Failure = Failure::Is(libc::EINVAL, "storage of a cache lies at a multiple of 64");
const NOT_SET_UP: Failure = Failure::Is(libc::ENXIO, "the cache is not set up: call kmem_cache_setup first");
const NO_STORAGE: Failure = Failure::Is(libc::EALREADY, "that is a cache of kmem_cache_create, not storage to set up");

/// A cache as the storage that it is, or that has the same first word.
///
/// # Errors
/// EINVAL for NULL, and for what no cache lies at.
///
/// # Safety
/// `s` is null, or a cache, or zeroed storage of one.
unsafe fn storage<'a>(s: *mut kmem_cache) -> Result<&'a CacheStorage, Failure> {
    let place = NonNull::new(s).ok_or(NULL)?.cast::<CacheStorage>();
    if !place.is_aligned() {
        return Err(ODD);
    }
    // SAFETY: the caller's word. Every word of a storage is an atomic one or may hold anything.
    Ok(unsafe { place.as_ref() })
}

/// The untyped handle in a cache.
///
/// # Errors
/// EINVAL for NULL, ENXIO for storage that is not set up.
///
/// # Safety
/// `s` is null, or a cache, or zeroed storage of one.
pub unsafe fn raw(s: *mut kmem_cache) -> Result<RawCache, Failure> {
    // SAFETY: the caller's word.
    unsafe { storage(s) }?.raw().ok_or(NOT_SET_UP)
}

/// The name that a cache is.
///
/// # Errors
/// As [`raw`].
///
/// # Safety
/// As [`raw`]; it lives during the call.
pub unsafe fn name(s: *mut kmem_cache) -> Result<CacheName, Failure> {
    // SAFETY: the caller's word, here and below.
    let storage = unsafe { storage(s) }?;
    if is_dynamic(s)? {
        // SAFETY: as above; it is of `create`.
        return Ok(unsafe { (*s.cast::<Dynamic>()).name.clone() });
    }
    storage.name().ok_or(NOT_SET_UP)
}

/// Whether that is a cache of [`create`].
fn is_dynamic(s: *mut kmem_cache) -> Result<bool, Failure> {
    Ok(handles(process::arena()?)?.check(s.cast()).is_ok())
}

/// The cache that caches of [`create`] are objects of, as in Linux: made at first use.
fn handles(arena: &'static Arena) -> Result<RawCache, Failure> {
    static HANDLES: PublishedPtr<()> = PublishedPtr::new(null_mut());
    const NAME: &str = "kmem_cache";
    if let Some(known) = NonNull::new(HANDLES.read()) {
        // SAFETY: what is published below.
        return Ok(unsafe { core::mem::transmute::<NonNull<()>, RawCache>(known) });
    }
    // A cache that a program keeps for good is no leak of its.
    let flags = SlabFlags::NO_MERGE | SlabFlags::NOLEAKTRACE;
    let args = CacheArgs { align: 64, flags, ..CacheArgs::default() };
    let made = match CacheName::create(arena, NAME, size_of::<Dynamic>(), &args) {
        Ok(made) => made,
        // Another thread was quicker, which may have vanished in a fork before it could publish.
        Err(error @ Error::BadArgument { argument: "name", .. }) => arena.find_name(NAME).ok_or(error)?,
        Err(error) => return Err(error.into()),
    };
    // SAFETY: this cache is never destroyed; a handle is an address.
    unsafe {
        let made = made.raw();
        HANDLES.publish(core::mem::transmute::<RawCache, *mut ()>(made));
        Ok(made)
    }
}

/// Makes a cache.
///
/// # Errors
/// As `CacheName::create`.
pub fn create(wanted: &Wanted<'_>) -> Result<*mut kmem_cache, Failure> {
    let arena = process::arena()?;
    let handles = handles(arena)?;
    let place = handles.alloc(AllocFlags::empty()).ok_or_else(|| no_object("a cache's handle"))?;
    match CacheName::create(arena, wanted.name, wanted.size, &wanted.args) {
        Ok(name) => {
            wanted.is_made();
            // SAFETY: the name ends in `destroy` only, with the place.
            let slots = unsafe { name.raw() };
            // SAFETY: the memory is ours, and an object of the cache for such.
            unsafe { place.cast::<Dynamic>().write(Dynamic { slots, name, _rest: [0; 4] }) };
            Ok(place.as_ptr().cast())
        }
        Err(error) => {
            // SAFETY: nobody else knows it.
            unsafe { handles.free(place) };
            Err(error.into())
        }
    }
}

/// Sets a cache up in its storage.
///
/// # Errors
/// EINVAL for storage that is NULL or not at a multiple of 64; EALREADY for a cache that is there; otherwise as
/// `CacheStorage::setup`. The storage is as it was.
///
/// # Safety
/// As `CacheStorage::setup_at`.
pub unsafe fn setup(s: *mut kmem_cache, wanted: &Wanted<'_>) -> Result<(), Failure> {
    // SAFETY: the caller's word, here and below.
    let place = NonNull::from(unsafe { storage(s) }?);
    if is_dynamic(s)? {
        return Err(NO_STORAGE);
    }
    // SAFETY: as above.
    let made = unsafe { CacheStorage::setup_at(place, process::arena()?, wanted.name, wanted.size, &wanted.args) }?;
    wanted.is_made();
    drop(made);
    Ok(())
}

/// Whether storage may be set up, or go away.
///
/// # Errors
/// As [`raw`]'s.
///
/// # Safety
/// As [`raw`].
pub unsafe fn is_free(s: *mut kmem_cache) -> Result<bool, Failure> {
    // SAFETY: the caller's word.
    let storage = unsafe { storage(s) }?;
    Ok(!is_dynamic(s)? && storage.is_free())
}

/// Ends a cache.
///
/// # Errors
/// As `CacheName::destroy`; the cache is usable then.
///
/// # Safety
/// As [`raw`]; nobody uses the cache during the call, nor afterwards if it went well.
pub unsafe fn destroy(s: *mut kmem_cache) -> Result<(), Failure> {
    // SAFETY: the caller's word, here and below.
    let storage = unsafe { storage(s) }?;
    if !is_dynamic(s)? {
        // SAFETY: as above.
        return Ok(unsafe { storage.destroy() }?);
    }
    let place = NonNull::from(storage).cast::<Dynamic>();
    // SAFETY: as above; it is read for the last time before its memory goes.
    unsafe {
        place.as_ref().name.destroy()?;
        let name = place.read();
        handles(process::arena()?)?.free(place.cast());
        drop(name);
    }
    Ok(())
}

/// C's flags as the core's.
///
/// # Errors
/// EINVAL for a bit without a name.
pub fn options(flags: gfp_t) -> Result<AllocFlags, Failure> {
    let known = AllocFlags::from_bits(flags & !__GFP_NOWARN);
    known.ok_or(Failure::Is(libc::EINVAL, "the gfp flags have a bit that haybarn.h has no name for"))
}
