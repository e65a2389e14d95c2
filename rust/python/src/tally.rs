//! How many objects of a cache Python took and gave back.
//!
//! The core can count the hits of its inlined paths, exactly, by committing cursor and counter in one 16-byte store; but a
//! cursor that goes through a vector register costs 4 ns more per call than one that stays in a general one (measured on
//! Zen 5; a pair is 9 ns with it, 1 without). Python's calls all come through one place, which can count for less: under the
//! GIL by a plain addition, without it by an atomic one in the line of the thread's shard.
#![forbid(unsafe_code)]

use haybarn::sync::Counter;

use crate::gate::{SHARDS, shard_of_thread};

#[derive(Default)]
#[repr(align(64))]
struct Line {
    allocs: Counter,
    frees: Counter,
}

/// Both counts, or nothing where they are not wanted.
pub(crate) struct Tally {
    on: bool,
    lines: [Line; SHARDS],
}

impl Tally {
    pub(crate) fn new(on: bool) -> Self {
        Self { on, lines: Default::default() }
    }

    #[inline]
    pub(crate) fn allocated(&self, n: u64) {
        if self.on {
            add(&self.lines[shard_of_thread()].allocs, n);
        }
    }

    #[inline]
    pub(crate) fn freed(&self, n: u64) {
        if self.on {
            add(&self.lines[shard_of_thread()].frees, n);
        }
    }

    /// Allocated, freed.
    pub(crate) fn read(&self) -> Option<(u64, u64)> {
        let sum = |count: fn(&Line) -> &Counter| self.lines.iter().map(|line| count(line).get()).sum();
        self.on.then(|| (sum(|line| &line.allocs), sum(|line| &line.frees)))
    }
}

/// The GIL is held by every caller, so nobody comes between the two halves.
#[cfg(not(Py_GIL_DISABLED))]
#[inline]
fn add(counter: &Counter, n: u64) {
    counter.set(counter.get().wrapping_add(n));
}

#[cfg(Py_GIL_DISABLED)]
#[inline]
fn add(counter: &Counter, n: u64) {
    counter.add(n);
}
