#![forbid(unsafe_code)]
//! Which caches an arena has, and what destroyed ones left for new ones. Changed only when caches come and go.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Ids are 16 bits in the page map; 0 is none.
const MAX_ID: u16 = u16::MAX;

/// A living cache.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub id: u16,
    /// Address of CPU 0's slot.
    pub slots: usize,
}

#[derive(Default)]
pub(super) struct Registry {
    /// Oldest first.
    pub caches: Vec<Entry>,
    free_ids: Vec<u16>,
    last_id: u16,
    free_blocks: Vec<usize>,
}

impl Registry {
    /// An id that no living cache has.
    pub fn take_id(&mut self) -> Option<u16> {
        self.free_ids.pop().or_else(|| {
            self.last_id = self.last_id.checked_add(1).filter(|&id| id < MAX_ID)?;
            Some(self.last_id)
        })
    }

    /// The block of a destroyed cache: all of an arena's are of one size.
    pub fn take_block(&mut self) -> Option<usize> {
        self.free_blocks.pop()
    }

    pub fn put_id(&mut self, id: u16) {
        self.free_ids.push(id);
    }

    pub fn put_block(&mut self, block: usize) {
        self.free_blocks.push(block);
    }
}

/// A panic in between leaves a registry whole: every change of it is one push or one removal.
pub(super) fn lock(registry: &Mutex<Registry>) -> MutexGuard<'_, Registry> {
    registry.lock().unwrap_or_else(PoisonError::into_inner)
}
