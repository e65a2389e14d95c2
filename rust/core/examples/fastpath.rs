//! The inlined paths, each in a function of its own that can be found in the disassembly: see tests/golden.rs.
//!
//! `cargo run --release --example fastpath` shows that they work.

use haybarn::{AllocFlags, Arena, CacheArgs, KmemCache, RawCache, StaticCache};
use std::ptr::NonNull;

type Frame = [u64; 8];
type Object = Option<NonNull<u8>>;

static FRAMES: StaticCache<Frame> = StaticCache::new("frames");

/// `FRAMES.alloc_raw()`.
#[unsafe(no_mangle)]
#[inline(never)]
fn golden_static_alloc() -> Option<NonNull<Frame>> {
    FRAMES.alloc_raw()
}

/// `FRAMES.free_raw()`.
///
/// # Safety
/// The frame is of `FRAMES` and the caller's.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe fn golden_static_free(frame: NonNull<Frame>) {
    // SAFETY: the caller's word.
    unsafe { FRAMES.free_raw(frame) };
}

/// `RawCache::alloc`.
#[unsafe(no_mangle)]
#[inline(never)]
fn golden_dynamic_alloc(cache: RawCache) -> Object {
    cache.alloc(AllocFlags::empty())
}

/// `RawCache::free`.
///
/// # Safety
/// The object is of the cache and the caller's.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe fn golden_dynamic_free(cache: RawCache, object: NonNull<u8>) {
    // SAFETY: the caller's word.
    unsafe { cache.free(object) };
}

/// `RawCache::alloc_counted`.
#[unsafe(no_mangle)]
#[inline(never)]
fn golden_counted_alloc(cache: RawCache) -> Object {
    cache.alloc_counted(AllocFlags::empty())
}

/// `RawCache::free_counted`.
///
/// # Safety
/// The object is of the cache and the caller's.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe fn golden_counted_free(cache: RawCache, object: NonNull<u8>) {
    // SAFETY: the caller's word.
    unsafe { cache.free_counted(object) };
}

/// `RawCache::alloc` through a typed cache: of a primary and of its alias.
#[unsafe(no_mangle)]
#[inline(never)]
fn golden_typed_alloc(cache: &KmemCache<Frame>) -> Object {
    // SAFETY: used while the cache is borrowed.
    unsafe { cache.raw() }.alloc(AllocFlags::empty())
}

/// `RawCache::free` through a typed cache.
///
/// # Safety
/// The object is of the cache and the caller's.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe fn golden_typed_free(cache: &KmemCache<Frame>, object: NonNull<u8>) {
    // SAFETY: the caller's word.
    unsafe { cache.raw().free(object) };
}

fn main() -> Result<(), haybarn::Error> {
    FRAMES.setup(&CacheArgs::default())?;
    let primary = KmemCache::<Frame>::create("primary", &CacheArgs { align: 1024, ..CacheArgs::default() })?;
    let alias = KmemCache::<Frame>::create("alias", &CacheArgs { align: 1024, ..CacheArgs::default() })?;
    assert_eq!(alias.name().primary().as_deref(), Some("primary"));
    for _ in 0..1000 {
        // SAFETY: each object goes back to the slabs that it came from, once.
        unsafe {
            golden_typed_alloc(&primary).into_iter().for_each(|object| golden_typed_free(&primary, object));
            golden_typed_alloc(&alias).into_iter().for_each(|object| golden_typed_free(&alias, object));
        }
    }
    // SAFETY: compared only.
    assert!(unsafe { primary.raw() == alias.raw() }, "an alias has its primary's slots");
    let arena = Arena::global()?;
    let plain = RawCache::create(arena, "plain", 64, &CacheArgs::default())?;
    let counted = RawCache::create(arena, "counted", 64, &CacheArgs { count_hits: true, ..CacheArgs::default() })?;
    for _ in 0..1000 {
        // SAFETY: each object goes back to the cache that it came from, once.
        unsafe {
            golden_static_alloc().into_iter().for_each(|frame| golden_static_free(frame));
            golden_dynamic_alloc(plain).into_iter().for_each(|object| golden_dynamic_free(plain, object));
            golden_counted_alloc(counted).into_iter().for_each(|object| golden_counted_free(counted, object));
        }
    }
    println!("{}: {} counted hits", arena.backend(), counted.stats().get(haybarn::Stat::AllocFastpath));
    Ok(())
}
