//! Memory by size: what the scenario `kmalloc` takes, resizes and gives back from many threads.

use crate::oracle::Counters;
use std::ptr::NonNull;

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The size classes of all, and runs of pages.
    Classes,
    /// A private set of size classes.
    Buckets,
    /// As [`Source::Classes`], and any pages where that has none.
    Fallback,
}

/// How memory is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By its address.
    Plain,
    /// The same, zeroed before.
    Sensitive,
    /// By the name that goes with the fallback.
    Fallback,
    /// By its address, looked at before.
    Checked,
}

/// An allocator of memory by size.
pub trait Heap: Send + Sync {
    /// `size` bytes, all that may be used zero if `zero`; none when memory is out.
    fn alloc(&self, source: Source, size: usize, zero: bool) -> Option<NonNull<u8>>;

    /// Other memory of `size` bytes with the same contents, or the same memory; of the old `len` bytes are in use, if that is said.
    ///
    /// # Safety
    /// `memory` is null, what a request for nothing got, or live memory of this allocator and the caller's; it is freed if anything
    /// else comes back.
    unsafe fn resize(&self, memory: *mut u8, len: Option<usize>, size: usize, zero: bool) -> Option<NonNull<u8>>;

    /// Gives memory back.
    ///
    /// # Errors
    /// Why an allocator that looks would not have it.
    ///
    /// # Safety
    /// As [`Heap::resize`]; nobody uses it any more.
    unsafe fn free(&self, memory: *mut u8, way: Way) -> Result<(), String>;

    /// Gives back many, in any order.
    ///
    /// # Safety
    /// As [`Heap::free`], for each.
    unsafe fn free_bulk(&self, memory: &mut [*mut u8]);

    /// Bytes that may be used there.
    ///
    /// # Safety
    /// As [`Heap::resize`].
    unsafe fn usable(&self, memory: *mut u8) -> usize;

    /// What [`Heap::usable`] will say of a request for `size` bytes.
    fn roundup(&self, size: usize) -> usize;

    /// The counters of the size classes.
    fn counters(&self) -> Counters;

    /// How many objects of the size classes are live; exact when nobody uses them.
    fn live(&self) -> u64;

    /// Ends what is the caller's alone, and checks the rest.
    ///
    /// # Errors
    /// What is wrong.
    fn close(self: Box<Self>) -> Result<(), String>;
}
