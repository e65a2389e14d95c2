//! Keeps the destruction of a cache apart from every call that is inside it, and counts what Python took and gave back.
//!
//! Two words per shard, one for calls that allocate and one for the others:
//!
//! ```text
//! | objects, so far : 46 | calls inside : 16 | closed : 1 | a destroyer is here : 1 |
//! ```
//!
//! Entering is one addition that also reads the flags, so the destroyer (which sets them, then waits for the calls inside)
//! and a caller can never miss each other. Where the GIL is held for the whole of a short call, the GIL is its stay: it
//! reads the flags and counts, both by plain loads and stores.
//!
//! Why objects are counted here: the core can count its hits, exactly, by committing cursor and counter in one 16-byte store;
//! but a cursor that goes through a vector register costs 4 ns more per call than one that stays in a general one (measured on
//! Zen 5: a pair is 9 ns with it, 1 without). Every call of Python comes through here, where it costs next to nothing.
#![forbid(unsafe_code)]

use haybarn::sync::Published;

/// A destroyer is inside, or waits to be alone.
const EXCLUSIVE: u64 = 1;
/// No new objects: left by `with`, or destroyed.
const CLOSED: u64 = 1 << 1;
const FLAGS: u64 = EXCLUSIVE | CLOSED;
/// One call inside.
const CALL: u64 = 1 << 2;
const CALLS: u64 = 0xffff * CALL;
/// One object; counts wrap without touching the rest of the word.
const OBJECT: u64 = 1 << 18;
const OBJECTS_AT: u32 = OBJECT.trailing_zeros();

/// Free-threaded callers would all write one line; so each thread counts itself in one of several.
#[cfg(Py_GIL_DISABLED)]
const SHARDS: usize = 16;
#[cfg(not(Py_GIL_DISABLED))]
const SHARDS: usize = 1;

#[cfg_attr(Py_GIL_DISABLED, repr(align(64)))]
struct Shard {
    /// Calls that allocate, and all others but those that free.
    allocs: Published,
    /// Calls that free.
    frees: Published,
}

/// What a call does with objects, which decides the word that it counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    Alloc,
    Free,
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

/// A stay inside for a call of any length.
pub(crate) struct Pass<'g>(&'g Published);

impl Pass<'_> {
    /// Counts objects that the call allocated or freed.
    pub(crate) fn count(&self, objects: usize) {
        self.0.take((objects as u64).wrapping_mul(OBJECT));
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.take(CALL.wrapping_neg());
    }
}

impl Gate {
    pub(crate) fn new() -> Self {
        let shard = || Shard { allocs: Published::new(0), frees: Published::new(0) };
        Self { shards: core::array::from_fn(|_| shard()), owner: Published::new(0) }
    }

    /// Runs a call that moves one object (or says with `false` that it did not), if no flag is set. It neither lets go of
    /// the GIL nor runs Python code.
    #[cfg(not(Py_GIL_DISABLED))]
    #[inline]
    pub(crate) fn short<R>(&self, does: Does, call: impl FnOnce() -> (R, bool)) -> Option<R> {
        let word = self.word(does);
        let seen = word.read();
        if seen & FLAGS != 0 {
            return None;
        }
        let (result, moved) = call();
        // The GIL is held by everyone who writes the word.
        word.publish(if moved { seen.wrapping_add(OBJECT) } else { seen });
        Some(result)
    }

    /// Runs a call that moves one object (or says with `false` that it did not), if no flag is set. It neither waits nor
    /// runs Python code.
    #[cfg(Py_GIL_DISABLED)]
    #[inline]
    pub(crate) fn short<R>(&self, does: Does, call: impl FnOnce() -> (R, bool)) -> Option<R> {
        let word = self.word(does);
        if word.take(CALL + OBJECT) & FLAGS != 0 {
            word.take((CALL + OBJECT).wrapping_neg());
            return None;
        }
        let (result, moved) = call();
        word.take(if moved { CALL } else { CALL + OBJECT }.wrapping_neg());
        Some(result)
    }

    /// Enters for any call; `closed` says whether a closed gate is good enough (freeing, statistics).
    pub(crate) fn enter(&self, does: Does, closed: bool) -> Result<Pass<'_>, Refused> {
        let word = self.word(does);
        let seen = word.take(CALL);
        let pass = Pass(word);
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
        self.shards[0].allocs.read() & CLOSED != 0
    }

    /// First step of a destroyer: keeps everybody else out. `false`: another destroyer was first.
    pub(crate) fn try_own(&self) -> bool {
        if self.owner.publish_if(0, 1).is_err() {
            return false;
        }
        for word in self.words() {
            word.take(EXCLUSIVE);
        }
        true
    }

    /// Second step: whether all who were inside have left.
    pub(crate) fn is_quiet(&self) -> bool {
        self.words().all(|word| word.read() & CALLS == 0)
    }

    /// Last step: lets others in again; `close` shuts out new objects from now on.
    pub(crate) fn disown(&self, close: bool) {
        let closing = if close && !self.is_closed() { CLOSED } else { 0 };
        for word in self.words() {
            word.take(closing.wrapping_sub(EXCLUSIVE));
        }
        self.owner.publish(0);
    }

    /// In the child of a fork the other threads are gone, and with them their stays.
    pub(crate) fn reset_after_fork(&self) {
        for word in self.words() {
            word.publish(word.read() & !(CALLS | EXCLUSIVE));
        }
        self.owner.publish(0);
    }

    /// Objects that Python allocated and freed so far.
    pub(crate) fn tally(&self) -> (u64, u64) {
        let sum =
            |word: fn(&Shard) -> &Published| self.shards.iter().map(|shard| word(shard).read() >> OBJECTS_AT).sum();
        (sum(|shard| &shard.allocs), sum(|shard| &shard.frees))
    }

    fn words(&self) -> impl Iterator<Item = &Published> {
        self.shards.iter().flat_map(|shard| [&shard.allocs, &shard.frees])
    }

    #[inline]
    fn word(&self, does: Does) -> &Published {
        let shard = &self.shards[shard_of_thread()];
        match does {
            Does::Alloc => &shard.allocs,
            Does::Free => &shard.frees,
        }
    }
}

#[cfg(not(Py_GIL_DISABLED))]
#[inline]
fn shard_of_thread() -> usize {
    0
}

/// Threads take shards in the order of their first call, round and round.
#[cfg(Py_GIL_DISABLED)]
#[inline]
fn shard_of_thread() -> usize {
    use std::cell::Cell;
    use std::sync::OnceLock;

    static NEXT: OnceLock<Published> = OnceLock::new();
    std::thread_local! {
        static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    let mine = MINE.get();
    if mine < SHARDS {
        return mine;
    }
    let mine = NEXT.get_or_init(|| Published::new(0)).take(1) as usize % SHARDS;
    MINE.set(mine);
    mine
}
