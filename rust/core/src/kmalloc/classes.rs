//! The size classes. Source: `kmalloc_info`, `__kmalloc_index`, `kmalloc_size_roundup` (mm/slab_common.c).
#![forbid(unsafe_code)]

use crate::cache::{Arena, CacheArgs, CacheName, KEPT, RawCache, refused};
use crate::error::Error;
use crate::pages::PAGE_SIZE;
use crate::slab::flags::SlabFlags;
use core::ptr::{NonNull, without_provenance_mut};

/// Bytes of the objects of each class, smallest first.
pub const SIZES: [usize; 13] = [8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192];
const _: () = assert!(SIZES.len() == KEPT);

/// The largest class; what is larger gets whole pages.
pub const KMALLOC_MAX_CACHE_SIZE: usize = 8192;

/// The most that `kmalloc` gives, 4 MiB; `kvmalloc` gives more.
pub const KMALLOC_MAX_SIZE: usize = 4 << 20;

/// What a request for 0 bytes gets: no memory, not null, and freeing it does nothing.
pub const ZERO_SIZE_PTR: NonNull<u8> = match NonNull::new(without_provenance_mut(16)) {
    Some(sixteen) => sixteen,
    None => unreachable!(),
};

/// The classes of sizes up to 192, in steps of 8 bytes.
const SMALL: [u8; 24] = [0, 1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 6];

/// The class of a size from 1 to [`KMALLOC_MAX_CACHE_SIZE`].
#[inline]
pub(super) fn class_of(size: usize) -> usize {
    if size <= 192 { SMALL[(size - 1) / 8] as usize } else { (size - 1).ilog2() as usize }
}

/// log2 of the pages for a size above [`KMALLOC_MAX_CACHE_SIZE`].
pub(super) fn order_of(size: usize) -> u8 {
    size.div_ceil(PAGE_SIZE).next_power_of_two().ilog2() as u8
}

/// Bytes that a request for `size` bytes really gets: the same that [`ksize`](super::ksize) says afterwards. 0 for 0; a size
/// above [`KMALLOC_MAX_SIZE`], which `kmalloc` refuses, comes back as it is.
#[must_use]
pub fn kmalloc_size_roundup(size: usize) -> usize {
    match size {
        0 => 0,
        1..=KMALLOC_MAX_CACHE_SIZE => SIZES[class_of(size)],
        _ if size <= KMALLOC_MAX_SIZE => PAGE_SIZE << order_of(size),
        _ => size,
    }
}

/// The arena's cache of a class, made if this is its first use; `None` when there is no memory for it, or for what
/// [`take_ctor_error`](crate::take_ctor_error) tells then.
#[inline]
pub(super) fn class(arena: &'static Arena, at: usize) -> Option<RawCache> {
    arena.kept(at).or_else(|| first_use(arena, at))
}

#[cold]
fn first_use(arena: &'static Arena, at: usize) -> Option<RawCache> {
    let made = arena.keep(at, || make(arena, "kmalloc", at));
    made.map_err(refused).ok()
}

/// Whether a name is that of a size class, and of which: its place in [`SIZES`]. Those of [`KmemBuckets`](super::KmemBuckets) are
/// the user's own. Thread-safe.
#[must_use]
pub fn class_named(arena: &'static Arena, name: &CacheName) -> Option<usize> {
    arena.kept_as(name.storage_id())
}

/// A cache of class `at` whose name begins with `prefix`. Where a user's cache has the name, `:2` is appended, or the next
/// number that is free: kmalloc cannot fail for a name, and the user's cache was there first.
pub(super) fn make(arena: &'static Arena, prefix: &str, at: usize) -> Result<RawCache, Error> {
    let size = SIZES[at];
    let name = if size < 1024 { format!("{prefix}-{size}") } else { format!("{prefix}-{}k", size / 1024) };
    // Aligned to the largest power of two that divides the size, as Linux promises. Larger ones than a page's come by
    // themselves: slabs are aligned to their size, and a power of two fills them without a gap.
    let align = (1 << size.trailing_zeros()).min(PAGE_SIZE);
    let args = CacheArgs { align, flags: SlabFlags::NO_MERGE, ..CacheArgs::default() };
    let (mut tried, mut number) = (name.clone(), 1);
    loop {
        match RawCache::create(arena, &tried, size, &args) {
            Err(Error::BadArgument { argument: "name", .. }) if arena.cache_names().contains(&tried) => (),
            made => return made,
        }
        number += 1;
        tried = format!("{name}:{number}");
    }
}

#[cfg(all(test, not(shuttle)))]
#[path = "classes_tests.rs"]
mod tests;
