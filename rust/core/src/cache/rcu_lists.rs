#![forbid(unsafe_code)]
//! What a cache keeps of objects that `free_rcu` was given, apart from the slots' own words.
//!
//! ```text
//! slot's rcu_free --full--> waiting (stack, anybody pushes) --collect--> line (by age, each with a cookie) --> barn or slabs
//! loose batches   --full--^
//! ```
//!
//! A sheaf in the line carries the cookie of a grace period that began after every one of its objects was freed.

use super::retain::Retain;
use crate::sync::{Counter, Form, Index, Links, Published, TaggedStack};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

/// What a sheaf waits for, and where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// The grace period's cookie; 0 before it is in the line.
    pub cookie: u64,
    /// Not a sheaf of the cache's shape, but a loose batch.
    pub loose: bool,
    /// The node whose CPU filled it.
    pub node: u8,
}

impl Due {
    pub const fn code(self) -> u64 {
        self.cookie << 8 | (self.loose as u64) << 7 | self.node as u64
    }

    pub const fn of(code: u64) -> Self {
        Self { cookie: code >> 8, loose: code & 0x80 != 0, node: code as u8 & 0x7f }
    }
}

/// See the module's text.
pub(crate) struct RcuLists {
    /// Sheaves that left their CPU and have no cookie yet.
    pub waiting: TaggedStack,
    line: Mutex<Line>,
    /// Sheaves in `waiting` and in the line.
    pub queued: Counter,
    /// Loose batches that are being filled.
    pub open: Counter,
    used: Published,
    /// Who keeps objects when their grace period is over, in tests.
    retainer: Mutex<Option<Arc<dyn Retain>>>,
    pub retains: bool,
}

/// Sheaves by age. Who holds its lock may drain CPUs, take from the line and give to barn and slabs, but waits for no reader.
#[derive(Default)]
pub(crate) struct Line {
    first: Index,
    last: Index,
    /// How many there are.
    len: u64,
    /// A cookie whose period is known to be over.
    pub passed: u64,
}

impl RcuLists {
    pub fn new(form: Form) -> Self {
        Self {
            waiting: TaggedStack::new(form),
            line: Mutex::default(),
            queued: Counter::new(),
            open: Counter::new(),
            used: Published::new(0),
            retainer: Mutex::default(),
            retains: false,
        }
    }

    /// Whether anything was ever given to `free_rcu`; false also for one that is at it for the first time.
    pub fn is_used(&self) -> bool {
        self.used.read() != 0
    }

    pub fn set_used(&self) {
        if !self.is_used() {
            self.used.publish(1);
        }
    }

    /// Sets who keeps objects; before anybody knows the cache.
    pub fn retain(&mut self, retainer: Option<Arc<dyn Retain>>) {
        self.retains = retainer.is_some();
        self.retainer = Mutex::new(retainer);
    }

    /// Who keeps objects.
    pub fn retainer(&self) -> MutexGuard<'_, Option<Arc<dyn Retain>>> {
        self.retainer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing that panics runs under this lock.
    pub fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The line, unless somebody else is at it, who then does what there is to do.
    pub fn try_line(&self) -> Option<MutexGuard<'_, Line>> {
        match self.line.try_lock() {
            Ok(line) => Some(line),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl Line {
    /// The oldest sheaf.
    pub fn first(&self) -> Option<Index> {
        (self.first != 0).then_some(self.first)
    }

    /// How many sheaves there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Takes the oldest sheaf off, if there is one.
    pub fn remove_first(&mut self, links: &impl Links) {
        self.len = self.len.saturating_sub(1);
        self.first = if self.first == self.last { 0 } else { TaggedStack::below(links, self.first) };
        if self.first == 0 {
            self.last = 0;
        }
    }

    /// Puts a sheaf at the end.
    pub fn append(&mut self, links: &impl Links, sheaf: Index) {
        self.len += 1;
        if self.last == 0 {
            self.first = sheaf;
        } else {
            TaggedStack::chain(links, self.last, sheaf);
        }
        self.last = sheaf;
    }

    /// Looks at every sheaf, oldest first.
    pub fn visit(&self, links: &impl Links, mut visit: impl FnMut(Index)) {
        let mut sheaf = self.first;
        while sheaf != 0 {
            visit(sheaf);
            sheaf = if sheaf == self.last { 0 } else { TaggedStack::below(links, sheaf) };
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
#[path = "rcu_lists_tests.rs"]
mod tests;
