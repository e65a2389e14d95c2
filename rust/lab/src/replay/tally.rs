//! What a run counts: per cache and thread, and what went wrong.

#![forbid(unsafe_code)]

use super::block::Damage;
use super::design::{Served, Usage};

/// Texts of violations that are kept; more are counted only.
const KEPT: usize = 100;

/// Counts of one cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheTally {
    /// Allocations.
    pub allocs: u64,
    /// Frees.
    pub frees: u64,
    /// Allocations by [`Served`], in its order.
    pub served: [u64; Served::COUNT],
}

impl CacheTally {
    /// Counts one allocation.
    pub fn alloc(&mut self, served: Option<Served>) {
        self.allocs += 1;
        if let Some(level) = served {
            self.served[level as usize] += 1;
        }
    }

    /// Adds another thread's counts.
    pub fn add(&mut self, other: &CacheTally) {
        self.allocs += other.allocs;
        self.frees += other.frees;
        for (sum, more) in self.served.iter_mut().zip(other.served) {
            *sum += more;
        }
    }
}

/// The moment at which a cache first held the most pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peak {
    /// What it held.
    pub usage: Usage,
    /// Bytes asked for by the objects that were live then.
    pub live_bytes: u64,
}

impl Peak {
    /// Takes note of `usage` if it is more than seen before.
    pub fn note(&mut self, usage: Usage, live_bytes: impl FnOnce() -> u64) {
        if usage.bytes > self.usage.bytes {
            *self = Peak { usage, live_bytes: live_bytes() };
        }
    }

    /// Bytes of pages that held no live object's bytes at that moment.
    #[must_use]
    pub fn waste(&self) -> u64 {
        self.usage.bytes.saturating_sub(self.live_bytes)
    }
}

/// Things that an allocator must never do, counted, the first of them as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub texts: Vec<String>,
}

impl Violations {
    /// Counts one.
    pub fn add(&mut self, text: impl FnOnce() -> String) {
        self.count += 1;
        if self.texts.len() < KEPT {
            self.texts.push(text());
        }
    }

    /// An object whose contents changed while it was live.
    pub fn damaged(&mut self, cache: &str, object: u32, Damage { address, offset }: Damage) {
        self.add(|| format!("{cache}: object {object} at {address:#x} was changed while live, first at byte {offset}"));
    }

    /// An object that is not aligned as its cache promises.
    pub fn misaligned(&mut self, cache: &str, object: u32, address: usize, align: usize) {
        self.add(|| format!("{cache}: object {object} at {address:#x} is not aligned to {align} bytes"));
    }

    /// Adds another thread's.
    pub fn merge(&mut self, other: Violations) {
        self.count += other.count;
        let room = KEPT - self.texts.len().min(KEPT);
        self.texts.extend(other.texts.into_iter().take(room));
    }
}
