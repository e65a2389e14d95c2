//! Keeps the destruction of a cache apart from every call that is inside it.
//!
//! A word per shard: calls inside in the low bits, two flags above. Entering is one addition that also reads the
//! flags, so the destroyer (which sets them, then waits for the counts) and a caller can never miss each other.
//! Where the GIL is held for the whole of a short call, the GIL is its count: it only reads the flags.
//!
//! The same line counts the objects that Python took and gave back. The core could count its hits, exactly, by committing
//! cursor and counter in one 16-byte store; but a cursor that goes through a vector register costs 4 ns more per call than
//! one that stays in a general one (measured on Zen 5; a pair is 9 ns with it, 1 without). Here, where every call of Python
//! comes through, it is one plain addition under the GIL, and an atomic one in the thread's shard without it.
#![forbid(unsafe_code)]

use haybarn::sync::{Counter, Published};

/// No new objects: left by `with`, or destroyed.
const CLOSED: u64 = 1 << 62;
/// A destroyer is inside, or waits to be alone.
const EXCLUSIVE: u64 = 1 << 63;
const COUNT: u64 = CLOSED - 1;

/// Free-threaded callers would all write one word; so each thread counts itself in one of several.
#[cfg(Py_GIL_DISABLED)]
const SHARDS: usize = 16;
#[cfg(not(Py_GIL_DISABLED))]
const SHARDS: usize = 1;

#[repr(align(64))]
struct Shard {
    word: Published,
    allocs: Counter,
    frees: Counter,
}

/// Why a caller may not enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// A destroyer is at work; its outcome is not known yet: wait, then try again.
    Busy,
    /// Closed to new objects.
    Closed,
}

/// The gate of one cache.
pub(crate) struct Gate {
    shards: [Shard; SHARDS],
    /// 1 while a destroyer has or wants the gate.
    owner: Published,
}

/// A counted stay inside.
pub(crate) struct Pass<'g>(&'g Shard);

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.word.take(u64::MAX);
    }
}

impl Pass<'_> {
    /// Counts objects that were allocated.
    #[inline]
    pub(crate) fn allocated(&self, n: u64) {
        add(&self.0.allocs, n);
    }

    /// Counts objects that were freed.
    #[inline]
    pub(crate) fn freed(&self, n: u64) {
        add(&self.0.frees, n);
    }
}

/// A stay inside that the GIL covers, or a counted one where there is none.
#[cfg(not(Py_GIL_DISABLED))]
pub(crate) type ShortPass<'g> = std::mem::ManuallyDrop<Pass<'g>>;
#[cfg(Py_GIL_DISABLED)]
pub(crate) type ShortPass<'g> = Pass<'g>;

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

impl Gate {
    pub(crate) fn new() -> Self {
        Self { shards: core::array::from_fn(|_| Shard::new()), owner: Published::new(0) }
    }

    /// Enters for a call that neither lets go of the GIL nor runs Python code, if no flag is set.
    #[cfg(not(Py_GIL_DISABLED))]
    #[inline]
    pub(crate) fn enter_short(&self) -> Option<ShortPass<'_>> {
        let shard = &self.shards[0];
        (shard.word.read() <= COUNT).then(|| std::mem::ManuallyDrop::new(Pass(shard)))
    }

    /// Enters for a call that neither waits nor runs Python code, if no flag is set.
    #[cfg(Py_GIL_DISABLED)]
    #[inline]
    pub(crate) fn enter_short(&self) -> Option<ShortPass<'_>> {
        self.enter(false).ok()
    }

    /// Enters for any call; `closed` says whether a closed gate is good enough (freeing, statistics).
    pub(crate) fn enter(&self, closed: bool) -> Result<Pass<'_>, Refused> {
        let shard = self.shard();
        let seen = shard.word.take(1);
        let pass = Pass(shard);
        if seen & EXCLUSIVE != 0 {
            return Err(Refused::Busy);
        }
        if seen & CLOSED != 0 && !closed {
            return Err(Refused::Closed);
        }
        Ok(pass)
    }

    /// Whether the gate is closed to new objects.
    pub(crate) fn is_closed(&self) -> bool {
        self.shards[0].word.read() & CLOSED != 0
    }

    /// First step of a destroyer: keeps everybody else out. `false`: another destroyer was first.
    pub(crate) fn try_own(&self) -> bool {
        if self.owner.publish_if(0, 1).is_err() {
            return false;
        }
        for shard in &self.shards {
            shard.word.take(EXCLUSIVE);
        }
        true
    }

    /// Second step: whether all who were inside have left.
    pub(crate) fn is_quiet(&self) -> bool {
        self.shards.iter().all(|shard| shard.word.read() & COUNT == 0)
    }

    /// Last step: lets others in again; `close` shuts out new objects from now on.
    pub(crate) fn disown(&self, close: bool) {
        let closing = if close && !self.is_closed() { CLOSED } else { 0 };
        for shard in &self.shards {
            // Both bits change in one addition: 2^63 is its own opposite.
            shard.word.take(EXCLUSIVE.wrapping_add(closing));
        }
        self.owner.publish(0);
    }

    /// In the child of a fork the other threads are gone, and with them their stays.
    pub(crate) fn reset_after_fork(&self) {
        for shard in &self.shards {
            shard.word.publish(shard.word.read() & CLOSED);
        }
        self.owner.publish(0);
    }

    /// Objects that Python allocated and freed through this gate so far.
    pub(crate) fn tally(&self) -> (u64, u64) {
        let sum = |count: fn(&Shard) -> &Counter| self.shards.iter().map(|shard| count(shard).get()).sum();
        (sum(|shard| &shard.allocs), sum(|shard| &shard.frees))
    }

    #[cfg(not(Py_GIL_DISABLED))]
    #[inline]
    fn shard(&self) -> &Shard {
        &self.shards[0]
    }

    /// Threads take shards in the order of their first call, round and round.
    #[cfg(Py_GIL_DISABLED)]
    #[inline]
    fn shard(&self) -> &Shard {
        use std::cell::Cell;
        std::thread_local! {
            static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
        }
        let mine = MINE.get();
        if mine < SHARDS {
            return &self.shards[mine];
        }
        static NEXT: std::sync::OnceLock<Published> = std::sync::OnceLock::new();
        MINE.set(NEXT.get_or_init(|| Published::new(0)).take(1) as usize % SHARDS);
        &self.shards[MINE.get()]
    }
}

impl Shard {
    fn new() -> Self {
        Self { word: Published::new(0), allocs: Counter::new(), frees: Counter::new() }
    }
}
