#![forbid(unsafe_code)]
//! Which caches an arena has, under which names, and what destroyed ones left for new ones. Changed only when names come and
//! go.

use super::attributes::{Named, Stays};
use crate::os;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Ids are 16 bits in the page map; 0 is none.
const MAX_ID: u16 = u16::MAX;

/// A living cache: a storage, which one name or several have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub id: u16,
    /// Address of CPU 0's slot.
    pub slots: usize,
    /// No other name may share it.
    pub apart: bool,
    /// Its last name is being destroyed, in the process of that generation: a child of a fork does not have who was at it.
    pub dying: Option<u64>,
}

impl Entry {
    pub fn is_dying(&self) -> bool {
        self.dying == Some(os::fork::generation())
    }
}

#[derive(Default)]
pub(super) struct Registry {
    /// Oldest first.
    pub caches: Vec<Entry>,
    /// Oldest first; each is of one of the caches.
    pub names: Vec<Arc<Named>>,
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

    /// The living name that reads so.
    pub fn find(&self, name: &str) -> Option<&Arc<Named>> {
        self.names.iter().find(|living| living.info.name == name)
    }

    /// The name that stands for a cache: the oldest that may.
    pub fn primary(&self, slots: usize) -> Option<&Arc<Named>> {
        self.names_of(slots).find(|name| !name.behind)
    }

    /// The names of a cache, oldest first, hidden ones too.
    pub fn names_of(&self, slots: usize) -> impl Iterator<Item = &Arc<Named>> {
        self.names.iter().filter(move |name| name.slots == slots)
    }

    /// The primary's name of the cache with that id in the page map.
    pub fn primary_of(&self, id: u16) -> Option<&str> {
        let entry = self.caches.iter().find(|entry| entry.id == id)?;
        self.primary(entry.slots).map(|primary| &*primary.info.name)
    }

    /// Says that the last name of a cache is being destroyed, or after all is not.
    pub fn set_dying(&mut self, slots: usize, dying: bool) {
        for entry in self.caches.iter_mut().filter(|entry| entry.slots == slots) {
            entry.dying = dying.then(os::fork::generation);
        }
    }

    /// Forgets a cache with its names. What stays with those is the caller's to drop, after the lock: foreign code may run then.
    #[must_use]
    pub fn remove(&mut self, slots: usize) -> Vec<Arc<Stays>> {
        self.caches.retain(|living| living.slots != slots);
        self.remove_names(|name| name.slots == slots)
    }

    /// Forgets the names that `which` chooses; as [`Registry::remove`].
    #[must_use]
    pub fn remove_names(&mut self, which: impl Fn(&Arc<Named>) -> bool) -> Vec<Arc<Stays>> {
        self.names.extract_if(.., |name| which(name)).filter_map(|name| name.set_gone()).collect()
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
