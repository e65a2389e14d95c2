#![forbid(unsafe_code)]
//! The tagged stack: a lock-free LIFO of indices whose links live in memory that is never unmapped.
//!
//! Barns, partial lists and the pools of descriptors and sheaves are all this one type. The head is {index, count, tag}; the
//! tag grows with every change and is never reset, so that a pop which was paused cannot mistake a new head for the one it
//! saw. The packed form has no room for the count, which is kept beside it there.
//!
//! Source: Treiber's stack with the counted pointer of IBM System/370 (R. K. Treiber, RJ 5118, 1986).

use super::doubleword::{DoubleWord, Fields, Form};
use super::plant::Bug;
use super::roles::Counter;
use super::shim::AtomicU64;
use core::sync::atomic::Ordering;

/// Index of an entry; 0 is "none", so that zeroed memory is an empty stack.
pub(crate) type Index = u32;

/// An entry's link to the one below it. It is read by threads that lose the race for its entry, so it is atomic.
#[repr(transparent)]
pub(crate) struct Link(AtomicU64);

impl Link {
    #[cfg(test)]
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    fn get(&self) -> Index {
        self.0.load(Ordering::Relaxed) as Index
    }

    fn set(&self, below: Index) {
        self.0.store(u64::from(below), Ordering::Relaxed);
    }
}

/// Where the links of a stack's entries are.
pub(crate) trait Links {
    fn link(&self, index: Index) -> &Link;
}

#[derive(Clone, Copy)]
struct Head {
    index: Index,
    count: u32,
    tag: u64,
}

impl Head {
    fn next(self, index: Index, count: u32) -> Self {
        Self { index, count, tag: self.tag.wrapping_add(u64::from(!Bug::NoTag.planted())) }
    }
}

impl Fields for Head {
    fn to_double(self) -> (u64, u64) {
        (u64::from(self.index) | u64::from(self.count) << 32, self.tag)
    }
    fn from_double(word0: u64, word1: u64) -> Self {
        Self { index: word0 as Index, count: (word0 >> 32) as u32, tag: word1 }
    }
    fn to_packed(self) -> u64 {
        self.tag << 32 | u64::from(self.index)
    }
    fn from_packed(word: u64) -> Self {
        Self { index: word as Index, count: 0, tag: word >> 32 }
    }
}

/// See the module's text. All zeros is an empty stack.
#[repr(C, align(64))]
pub(crate) struct TaggedStack {
    head: DoubleWord<Head>,
    packed_len: Counter,
}

impl TaggedStack {
    pub fn new(form: Form) -> Self {
        Self { head: DoubleWord::new(form, Head { index: 0, count: 0, tag: 0 }), packed_len: Counter::new() }
    }

    /// Puts an entry on top. The caller owns the entry and gives it away. Returns how many swaps failed before.
    pub fn push(&self, form: Form, links: &impl Links, index: Index) -> u64 {
        self.push_chain(form, links, index, index, 1)
    }

    /// Puts a chain of `count` entries, linked by the caller from `first` down to `last`, on top by one swap.
    pub fn push_chain(&self, form: Form, links: &impl Links, first: Index, last: Index, count: u32) -> u64 {
        debug_assert_ne!(first, 0);
        if form == Form::Packed {
            self.packed_len.add(u64::from(count));
        }
        let mut failed = 0;
        loop {
            let head = self.head.load(form);
            links.link(last).set(head.index);
            if self.head.swap(form, head, head.next(first, head.count.wrapping_add(count))) {
                return failed;
            }
            failed += 1;
        }
    }

    /// Links `above` to `below` in a chain that the caller owns, for [`TaggedStack::push_chain`].
    pub fn chain(links: &impl Links, above: Index, below: Index) {
        links.link(above).set(below);
    }

    /// Takes the top entry.
    pub fn pop(&self, form: Form, links: &impl Links) -> Option<Index> {
        let mut one = [0];
        (self.pop_batch(form, links, &mut one) == 1).then_some(one[0])
    }

    /// Takes up to `out.len()` entries from the top by one swap; returns how many. All links are read before the swap: an
    /// entry that is ours may be pushed again by somebody else at once, and its link with it.
    pub fn pop_batch(&self, form: Form, links: &impl Links, out: &mut [Index]) -> usize {
        self.pop_until(form, links, out, || |_| false)
    }

    /// As [`TaggedStack::pop_batch`], ending with the first entry of which a fresh `enough()` says that it suffices. It may
    /// be asked about entries that another thread takes first.
    pub fn pop_until<F: FnMut(Index) -> bool>(
        &self,
        form: Form,
        links: &impl Links,
        out: &mut [Index],
        enough: impl Fn() -> F,
    ) -> usize {
        loop {
            let head = self.head.load(form);
            let (mut taken, mut below) = (0, head.index);
            let mut enough = enough();
            while taken < out.len() && below != 0 {
                out[taken] = below;
                taken += 1;
                let last = enough(below);
                below = links.link(below).get();
                if last {
                    break;
                }
            }
            if taken == 0 {
                return 0;
            }
            if self.head.swap(form, head, head.next(below, head.count.wrapping_sub(taken as u32))) {
                if form == Form::Packed {
                    self.packed_len.sub(taken as u64);
                }
                return taken;
            }
        }
    }

    /// Takes every entry by one swap: the one that was on top (0: there was none), linked down to the last, and how many.
    pub fn take_all(&self, form: Form, links: &impl Links) -> (Index, u64) {
        loop {
            let head = self.head.load(form);
            if head.index == 0 {
                return (0, 0);
            }
            if self.head.swap(form, head, head.next(0, 0)) {
                let (mut count, mut entry) = (0, head.index);
                while entry != 0 {
                    count += 1;
                    entry = links.link(entry).get();
                }
                if form == Form::Packed {
                    self.packed_len.sub(count);
                }
                return (head.index, count);
            }
        }
    }

    /// The entry below one in a chain that the caller owns; 0 for the last.
    pub fn below(links: &impl Links, entry: Index) -> Index {
        links.link(entry).get()
    }

    /// Walks from the top down, as far as the stack is long. Exact when nobody else is at it; otherwise it may see entries
    /// that have left, and stops somewhere.
    pub fn visit(&self, form: Form, links: &impl Links, mut visit: impl FnMut(Index)) {
        let mut entry = self.head.load(form).index;
        for _ in 0..self.len(form) {
            if entry == 0 {
                break;
            }
            visit(entry);
            entry = links.link(entry).get();
        }
    }

    /// Whether there is no entry; and if so, all that who took the last one did before.
    pub fn is_empty(&self, form: Form) -> bool {
        self.head.load(form).index == 0
    }

    /// How many entries there are; in the packed form off by the threads that are in the middle of a push or pop.
    pub fn len(&self, form: Form) -> u64 {
        match form {
            Form::Double => u64::from(self.head.load(form).count),
            Form::Packed => (self.packed_len.get() as i64).max(0) as u64,
        }
    }
}

#[cfg(all(test, loom))]
#[path = "stack_models.rs"]
mod models;
#[cfg(all(test, not(loom)))]
#[path = "stack_tests.rs"]
mod tests;
