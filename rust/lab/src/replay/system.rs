//! Design `system`: the C library's malloc and free, for comparison.
#![allow(unsafe_code)]

use super::block::Block;
use super::design::{Design, Made, Served, Usage};
use super::plan::{Origin, Plan, PlannedObject};
use std::ptr::NonNull;

/// The system's malloc.
#[derive(Debug)]
pub struct System {
    /// Bytes of an object of each cache; `None`: what each allocation asks for.
    sizes: Vec<Option<usize>>,
}

impl System {
    /// Objects of a named cache all have its size, as a program would allocate them; kmalloc's have what was asked for.
    #[must_use]
    pub fn new(plan: &Plan) -> System {
        let size =
            |cache: &super::plan::PlannedCache| (cache.origin == Origin::Named).then_some(cache.bytes_req as usize);
        System { sizes: plan.caches.iter().map(size).collect() }
    }
}

impl Design for System {
    fn alloc(&self, object: &PlannedObject, id: u32) -> Option<(Block, Option<Served>)> {
        let bytes = self.sizes[object.cache as usize].unwrap_or(object.bytes_req as usize);
        // SAFETY: malloc may be called with any size.
        let address = NonNull::new(unsafe { libc::malloc(bytes) }.cast::<u8>())?;
        // SAFETY: malloc gave these bytes to nobody else, until `free`.
        Some((unsafe { Block::stamped(address, bytes, id) }, None))
    }

    fn free(&self, _cache: u32, block: Block) {
        // SAFETY: only `alloc` makes blocks here, and a block is taken apart once.
        unsafe { libc::free(block.into_raw().as_ptr().cast()) };
    }

    fn align(&self, _cache: u32) -> usize {
        // What the C library promises for sizes of at least that much; smaller ones may have less.
        1
    }

    fn usage(&self, _cache: u32) -> Option<Usage> {
        None
    }

    fn made(&self, _cache: u32) -> Option<Made> {
        None
    }

    fn counters(&self, _cache: u32) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    fn finish(&self) -> Vec<String> {
        Vec::new()
    }
}
