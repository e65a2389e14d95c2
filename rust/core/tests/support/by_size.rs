//! The kmalloc family for tests, which free what they hold, once, and touch no more than they asked for.

use haybarn::kmalloc as family;
use haybarn::{AllocFlags, Arena, Error, RawCache};
use std::ptr::NonNull;

macro_rules! vouched {
    ($($name:ident($($argument:ident: $of:ty),*) -> $back:ty;)*) => {
        $(pub fn $name(arena: &'static Arena, $($argument: $of),*) -> $back {
            // SAFETY: see the file's first line.
            unsafe { family::$name(arena, $($argument),*) }
        })*
    };
}

vouched! {
    kfree(object: *mut u8) -> ();
    kvfree(object: *mut u8) -> ();
    kfree_sensitive(object: *mut u8) -> ();
    kfree_checked(object: *mut u8) -> Result<(), Error>;
    kfree_bulk(objects: &mut [*mut u8]) -> ();
    ksize(object: *mut u8) -> usize;
    krealloc(object: *mut u8, size: usize, flags: AllocFlags) -> Option<NonNull<u8>>;
    krealloc_from(object: *mut u8, len: usize, size: usize, flags: AllocFlags) -> Option<NonNull<u8>>;
}

#[allow(unused_imports, reason = "as in the module above")]
pub use family::{
    KMALLOC_MAX_SIZE, KmemBuckets, SIZES, ZERO_SIZE_PTR, kmalloc, kmalloc_size_roundup, ksize_checked, kvmalloc,
};

/// What is there.
pub fn bytes(object: *mut u8, n: usize) -> &'static [u8] {
    // SAFETY: see the file's first line; nobody writes while a test looks.
    unsafe { std::slice::from_raw_parts(object, n) }
}

pub fn byte(object: *mut u8, at: usize) -> u8 {
    bytes(object, at + 1)[at]
}

pub fn paint(object: *mut u8, n: usize, with: u8) {
    // SAFETY: see the file's first line.
    unsafe { object.write_bytes(with, n) };
}

pub fn destroy(cache: RawCache) {
    // SAFETY: the test knows the only handle.
    unsafe { cache.destroy().unwrap() };
}

pub fn end_set(set: KmemBuckets) -> Result<(), (Error, KmemBuckets)> {
    // SAFETY: the test's is the only thread.
    unsafe { set.destroy() }
}

pub fn free_pages(arena: &'static Arena, run: *mut u8) -> Result<(), Error> {
    // SAFETY: the test has nothing in there.
    unsafe { arena.free_pages(NonNull::new(run).unwrap()) }
}
