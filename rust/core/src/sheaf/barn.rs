#![forbid(unsafe_code)]
//! A node's barn: full sheaves and empty sheaves, two tagged stacks.
//!
//! Source: `struct node_barn` (mm/slub.c); the lock is gone, so the limits are soft by the threads in flight.

use crate::sync::{Form, Index, Links, TaggedStack};

/// Full sheaves that a free may always put in a barn (`MAX_FULL_SHEAVES`).
const MAX_FULL: u64 = 10;
/// Bytes of objects up to which it may put more. Ten sheaves of small objects are little memory, and a program that frees a
/// thousand of them at once would flush and refill all the time (docs/design.md has the measurement).
const MAX_FULL_BYTES: u64 = 128 << 10;

/// Full sheaves after which a free flushes, for sheaves of `capacity` objects with a stride of `stride` bytes.
pub(crate) fn full_limit(capacity: u32, stride: usize) -> u64 {
    let sheaf = u64::from(capacity).max(1) * stride as u64;
    (MAX_FULL_BYTES / sheaf).max(MAX_FULL)
}

/// All zeros is an empty barn.
#[repr(C)]
pub(crate) struct Barn {
    full: TaggedStack,
    empty: TaggedStack,
}

impl Barn {
    pub fn new(form: Form) -> Self {
        Self { full: TaggedStack::new(form), empty: TaggedStack::new(form) }
    }

    /// Full sheaves; exact when quiet.
    pub fn full(&self, form: Form) -> u64 {
        self.full.len(form)
    }

    /// Empty sheaves; exact when quiet.
    pub fn empty(&self, form: Form) -> u64 {
        self.empty.len(form)
    }

    /// Looks at the full sheaves from the top down; for statistics of a quiet barn.
    pub fn visit_full(&self, form: Form, links: &impl Links, visit: impl FnMut(Index)) {
        self.full.visit(form, links, visit);
    }

    /// Puts a sheaf on the full stack; the limit is the caller's business.
    pub fn put_full(&self, form: Form, links: &impl Links, sheaf: Index) {
        self.full.push(form, links, sheaf);
    }

    /// Takes the full sheaf that came last.
    pub fn get_full(&self, form: Form, links: &impl Links) -> Option<Index> {
        self.full.pop(form, links)
    }

    /// Takes up to two full sheaves, by one swap.
    pub fn get_two_full(&self, form: Form, links: &impl Links) -> [Option<Index>; 2] {
        let mut out = [0; 2];
        let got = self.full.pop_batch(form, links, &mut out);
        [(got > 0).then_some(out[0]), (got > 1).then_some(out[1])]
    }

    /// Puts two full sheaves, the first on top, by one swap; the limit is the caller's business.
    pub fn put_two_full(&self, form: Form, links: &impl Links, sheaves: [Index; 2]) {
        TaggedStack::chain(links, sheaves[0], sheaves[1]);
        self.full.push_chain(form, links, sheaves[0], sheaves[1], 2);
    }

    /// Takes up to two empty sheaves, by one swap.
    pub fn get_two_empty(&self, form: Form, links: &impl Links) -> [Option<Index>; 2] {
        let mut out = [0; 2];
        let got = self.empty.pop_batch(form, links, &mut out);
        [(got > 0).then_some(out[0]), (got > 1).then_some(out[1])]
    }

    /// Puts two empty sheaves away, by one swap.
    pub fn put_two_empty(&self, form: Form, links: &impl Links, sheaves: [Index; 2]) {
        TaggedStack::chain(links, sheaves[0], sheaves[1]);
        self.empty.push_chain(form, links, sheaves[0], sheaves[1], 2);
    }

    /// Puts an empty sheaf away, without limit: whoever has one must be able to get rid of it.
    pub fn put_empty(&self, form: Form, links: &impl Links, sheaf: Index) {
        self.empty.push(form, links, sheaf);
    }

    pub fn get_empty(&self, form: Form, links: &impl Links) -> Option<Index> {
        self.empty.pop(form, links)
    }
}

#[cfg(all(test, loom))]
#[path = "barn_models.rs"]
mod models;
#[cfg(all(test, not(loom)))]
#[path = "barn_tests.rs"]
mod tests;
