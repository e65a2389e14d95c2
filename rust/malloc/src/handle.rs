//! What a `struct kmem_cache` is: a name of a cache, at an address that begins with the word that the inlined paths load.

use crate::abi::{__GFP_NOWARN, gfp_t};
use crate::failure::{Failure, no_object};
use crate::process;
use crate::wanted::Wanted;
use core::ptr::{NonNull, null_mut};
use haybarn_core::sync::PublishedPtr;
use haybarn_core::{AllocFlags, Arena, CacheArgs, CacheName, Error, RawCache, SlabFlags};

/// A cache: from kmem_cache_create, or what to_kmem_cache makes of a kmem_cache_opaque.
pub struct kmem_cache(());

/// The first word of every cache: null where it is not set up.
type Word = PublishedPtr<u8>;
const _: () = assert!(size_of::<Word>() == size_of::<RawCache>());

/// A cache of kmem_cache_create.
#[repr(C)]
struct Dynamic {
    /// Of the storage that the name has.
    word: Word,
    name: CacheName,
}

const NULL: Failure = Failure::Is(libc::EINVAL, "the cache is NULL");
const NO_CACHE: Failure = Failure::Is(libc::EINVAL, "that is no cache: it was not made, or has been destroyed");

/// The untyped handle in a cache.
///
/// # Errors
/// EINVAL for NULL, ENXIO for storage that is not set up.
///
/// # Safety
/// `s` is null, or a cache, or zeroed storage of one.
pub unsafe fn raw(s: *mut kmem_cache) -> Result<RawCache, Failure> {
    // SAFETY: the caller's word: the word is there.
    let slots = NonNull::new(unsafe { s.cast::<Word>().as_ref() }.ok_or(NULL)?.read());
    let slots = slots.ok_or(Failure::Is(libc::ENXIO, "the cache is not set up: call kmem_cache_setup first"))?;
    // SAFETY: a handle is such an address.
    Ok(unsafe { core::mem::transmute::<NonNull<u8>, RawCache>(slots) })
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
    unsafe { raw(s) }?;
    dynamic(s)?;
    // SAFETY: as above; it is of `create`.
    Ok(unsafe { (*s.cast::<Dynamic>()).name.clone() })
}

/// Whether that is a cache of [`create`].
fn dynamic(s: *mut kmem_cache) -> Result<(), Failure> {
    handles(process::arena()?)?.check(s.cast()).map(|_| ()).map_err(|_| NO_CACHE)
}

/// The cache that caches of [`create`] are objects of, as in Linux: made at first use.
fn handles(arena: &'static Arena) -> Result<RawCache, Failure> {
    static HANDLES: Word = Word::new(null_mut());
    const NAME: &str = "kmem_cache";
    if let Some(known) = NonNull::new(HANDLES.read()) {
        // SAFETY: what is published below.
        return Ok(unsafe { core::mem::transmute::<NonNull<u8>, RawCache>(known) });
    }
    let args = CacheArgs { align: 64, flags: SlabFlags::NO_MERGE, ..CacheArgs::default() };
    let made = match CacheName::create(arena, NAME, 64, &args) {
        Ok(made) => made,
        // Another thread was quicker, which may have vanished in a fork before it could publish.
        Err(error @ Error::BadArgument { argument: "name", .. }) => arena.find_name(NAME).ok_or(error)?,
        Err(error) => return Err(error.into()),
    };
    // SAFETY: this cache is never destroyed.
    let made = unsafe { made.raw() };
    // SAFETY: as in `raw`.
    HANDLES.publish(unsafe { core::mem::transmute::<RawCache, *mut u8>(made) });
    Ok(made)
}

const _: () = assert!(size_of::<Dynamic>() <= 64 && align_of::<Dynamic>() <= 64);

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
            // SAFETY: the name ends in `destroy` only, with the place; a handle is an address.
            let word = Word::new(unsafe { core::mem::transmute::<RawCache, *mut u8>(name.raw()) });
            // SAFETY: the memory is ours, large and aligned enough.
            unsafe { place.cast::<Dynamic>().write(Dynamic { word, name }) };
            Ok(place.as_ptr().cast())
        }
        Err(error) => {
            // SAFETY: nobody else knows it.
            unsafe { handles.free(place) };
            Err(error.into())
        }
    }
}

/// Ends a cache.
///
/// # Errors
/// As `CacheName::destroy`; the cache is usable then.
///
/// # Safety
/// As [`raw`]; nobody uses the cache during the call, nor afterwards if it went well.
pub unsafe fn destroy(s: *mut kmem_cache) -> Result<(), Failure> {
    let place = NonNull::new(s).ok_or(NULL)?;
    dynamic(s)?;
    let dynamic = place.cast::<Dynamic>();
    // SAFETY: the caller's word, here and below.
    unsafe { dynamic.as_ref().name.destroy() }?;
    // SAFETY: it is read for the last time.
    drop(unsafe { dynamic.read() });
    // SAFETY: as above; it was an object of this cache.
    unsafe { handles(process::arena()?)?.free(place.cast()) };
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
