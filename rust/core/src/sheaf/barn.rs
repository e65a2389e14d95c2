#![forbid(unsafe_code)]
//! A node's barn: full sheaves and empty sheaves, two tagged stacks.
//!
//! Source: `struct node_barn` (mm/slub.c); the lock is gone, so the limits are soft by the threads in flight.

use crate::sync::{Counter, Form, Index, Links, TaggedStack};

/// Full sheaves that a free may put in a barn (`MAX_FULL_SHEAVES`).
pub(crate) const MAX_FULL: u64 = 10;

/// All zeros is an empty barn.
#[repr(C)]
pub(crate) struct Barn {
    full: TaggedStack,
    empty: TaggedStack,
    objects: Counter,
}

impl Barn {
    pub fn new(form: Form) -> Self {
        Self { full: TaggedStack::new(form), empty: TaggedStack::new(form), objects: Counter::new() }
    }

    /// True if a free should flush instead: there are enough full sheaves.
    pub fn has_enough_full(&self) -> bool {
        self.full.len() >= MAX_FULL
    }

    /// Full sheaves, empty sheaves, and objects in the full ones; exact when quiet.
    pub fn census(&self) -> (u64, u64, u64) {
        (self.full.len(), self.empty.len(), self.objects.get())
    }

    /// Puts a sheaf with `objects` objects on the full stack; the limit is the caller's business.
    pub fn put_full(&self, form: Form, links: &impl Links, sheaf: Index, objects: u32) {
        self.objects.add(u64::from(objects));
        self.full.push(form, links, sheaf);
    }

    /// Takes the full sheaf that came last. The caller tells [`Barn::took`] how many objects it had.
    pub fn get_full(&self, form: Form, links: &impl Links) -> Option<Index> {
        self.full.pop(form, links)
    }

    /// Settles the account of a sheaf that [`Barn::get_full`] gave.
    pub fn took(&self, objects: u32) {
        self.objects.sub(u64::from(objects));
    }

    /// Puts an empty sheaf away, without limit: whoever has one must be able to get rid of it.
    pub fn put_empty(&self, form: Form, links: &impl Links, sheaf: Index) {
        self.empty.push(form, links, sheaf);
    }

    pub fn get_empty(&self, form: Form, links: &impl Links) -> Option<Index> {
        self.empty.pop(form, links)
    }
}
