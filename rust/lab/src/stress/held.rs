//! An object that a thread of a run holds.

use crate::oracle::Tag;
use std::ptr::NonNull;

/// An object, the stamp that it carries, and the watched cache that it came from.
#[derive(Debug)]
pub struct Held {
    object: NonNull<u8>,
    tag: Tag,
    cache: u64,
}

// SAFETY: a held object is memory of an allocator whose objects any thread may use and free, and the `Held` is its only handle.
unsafe impl Send for Held {}

impl Held {
    /// The handle of `object`, stamped with `tag`, of the watched cache number `cache`.
    ///
    /// # Safety
    /// The object is that cache's, and this is its only handle.
    pub(super) unsafe fn new(object: NonNull<u8>, tag: Tag, cache: u64) -> Self {
        Self { object, tag, cache }
    }

    /// Where it lies.
    #[must_use]
    pub fn object(&self) -> NonNull<u8> {
        self.object
    }

    /// What is stamped on it.
    #[must_use]
    pub fn tag(&self) -> Tag {
        self.tag
    }

    /// The number of its watched cache.
    #[must_use]
    pub fn cache(&self) -> u64 {
        self.cache
    }
}
