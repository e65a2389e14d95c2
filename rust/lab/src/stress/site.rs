#![forbid(unsafe_code)]
//! Storage for a cache that is there before the cache: what the scenario `prealloc` sets up, ends and reads from many threads.

use super::no_cache::NoCache;
use crate::oracle::Subject;
use crossbeam_utils::atomic::AtomicCell;
use std::any::Any;
use std::sync::Arc;

/// What a cache keeps alive.
pub type Owner = Arc<dyn Any + Send + Sync>;

/// What became of a first use or a setup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// A cache is there, with this number: made now, or, for a first use, found.
    Cache(u64),
    /// A setup found a cache there.
    Already,
    /// The last cache is gone, but its attributes are being read.
    Read,
}

/// One storage.
pub trait Site: Send + Sync {
    /// Whether a cache is there.
    fn is_up(&self) -> bool;

    /// The cache of the storage, made now with this owner if nobody has.
    ///
    /// # Errors
    /// Why the allocator would not make it.
    fn first_use(&self, owner: Option<Owner>) -> Result<Setting, NoCache>;

    /// Makes the cache, with this owner.
    ///
    /// # Errors
    /// As [`Site::first_use`].
    fn setup(&self, owner: Option<Owner>) -> Result<Setting, NoCache>;

    /// The cache that is there; to destroy it leaves the storage behind.
    fn subject(&self) -> Option<Box<dyn Subject>>;

    /// A reader of the cache's attributes: while it lives, owner and storage stay.
    fn reader(&self) -> Option<Box<dyn Any + Send>>;
}

/// An owner that is counted.
pub struct Token(Arc<AtomicCell<u64>>);

impl Token {
    /// One more of those that `alive` counts.
    #[must_use]
    pub fn new(alive: &Arc<AtomicCell<u64>>) -> Arc<Self> {
        alive.fetch_add(1);
        Arc::new(Self(alive.clone()))
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.0.fetch_sub(1);
    }
}
