#![forbid(unsafe_code)]
//! Which caches an arena has, under which names, and what destroyed ones left for new ones. Changed only when names come and
//! go.

use super::attributes::{Named, Stays};
use crate::os;
#[cfg(shuttle)]
use std::sync::TryLockError;
use std::sync::{Arc, Mutex, MutexGuard};

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
#[cfg(not(shuttle))]
pub(super) fn lock(registry: &Mutex<Registry>) -> MutexGuard<'_, Registry> {
    registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The same where the scheduler has to know who waits: all threads of a schedule are one to the system.
#[cfg(shuttle)]
pub(super) fn lock(registry: &Mutex<Registry>) -> MutexGuard<'_, Registry> {
    crate::sync::step();
    loop {
        match registry.try_lock() {
            Ok(registry) => return registry,
            Err(TryLockError::Poisoned(registry)) => return registry.into_inner(),
            Err(TryLockError::WouldBlock) => os::yield_now(),
        }
    }
}

#[cfg(all(test, shuttle))]
impl Registry {
    /// What holds whenever the lock is free; says how many storages there are.
    pub fn audit(&self) -> usize {
        for name in &self.names {
            let of = self.caches.iter().find(|entry| entry.slots == name.slots);
            let of = of.expect("a name is on a dead storage");
            assert!(name.is_living(), "a name that has ended is listed");
            let visible = self.names_of(name.slots).filter(|name| !name.hidden).count();
            assert!(!of.is_dying() || visible == 1, "a name joined a storage that is being ended");
        }
        for entry in &self.caches {
            let named = self.names_of(entry.slots).any(|name| !name.hidden);
            assert!(named, "a storage without a name: it leaks");
            assert!(!self.free_ids.contains(&entry.id), "a living storage's id is free: it was ended before");
        }
        let different = |free: &mut dyn Iterator<Item = usize>| {
            let all: Vec<_> = free.collect();
            all.iter().collect::<std::collections::HashSet<_>>().len() == all.len()
        };
        assert!(different(&mut self.free_ids.iter().map(|&id| id.into())), "a storage was ended twice");
        assert!(different(&mut self.free_blocks.iter().copied()), "a storage was ended twice");
        self.caches.len()
    }

    /// What holds when all names have ended.
    pub fn audit_empty(&self) {
        assert_eq!((self.audit(), self.names.len()), (0, 0), "a name or a storage leaks");
        assert_eq!(self.free_ids.len(), usize::from(self.last_id), "an id leaks");
        assert_eq!(self.free_blocks.len(), self.free_ids.len(), "a block leaks");
    }
}
