//! Keeps the destruction of a cache apart from every call that is inside it, and counts what Python took and gave back.
//!
//! Two words per shard, one for calls that allocate and one for the others:
//!
//! ```text
//! | objects, so far : 45 | calls inside : 16 | long : 1 | closed : 1 | a destroyer is here : 1 |
//! ```
//!
//! Entering is one addition that also reads the flags, so the destroyer (which sets them, then waits for the calls inside)
//! and a caller can never miss each other. Where the GIL is held for the whole of a short call, the GIL is its stay: it
//! reads the flags and counts, both by plain loads and stores.
//!
//! `long` is for good: the calls of a cache with a constructor or destructor may run Python code, so none is short.
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
/// No call is short.
const LONG: u64 = 1 << 2;
const FLAGS: u64 = EXCLUSIVE | CLOSED | LONG;
/// One call inside.
const CALL: u64 = 1 << 3;
const CALLS: u64 = 0xffff * CALL;
/// One object; counts wrap without touching the rest of the word.
const OBJECT: u64 = 1 << 19;
const OBJECTS_AT: u32 = OBJECT.trailing_zeros();

/// Free-threaded callers would all write one line; so each thread counts itself in one of several. One more is for threads
/// inside a destructor, and always `long`: what they do is looked at first.
#[cfg(Py_GIL_DISABLED)]
const SHARDS: usize = 16 + 1;
#[cfg(not(Py_GIL_DISABLED))]
const SHARDS: usize = 1;

/// A cache line's worth, by its size and not by its alignment: the interpreter, which allocates caches, aligns to 16 bytes, and
/// then the two words are in one line, and no other shard's are.
#[repr(C)]
struct Shard {
    /// Calls that allocate, and all others but those that free.
    allocs: Published,
    /// Calls that free.
    frees: Published,
    _rest_of_line: [u64; 6],
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
    /// The word that counts the stay.
    pub(crate) fn word(&self) -> &Published {
        self.0
    }

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
    /// `long`: whether calls run Python code.
    pub(crate) fn new(long: bool) -> Self {
        let shard = |at: usize| {
            let flags = if long || at == LOOKED_AT { LONG } else { 0 };
            Shard { allocs: Published::new(flags), frees: Published::new(flags), _rest_of_line: [0; 6] }
        };
        Self { shards: core::array::from_fn(shard), owner: Published::new(0) }
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
    /// `again`: whether the thread is inside already, so that no destroyer can be at work unless it is this thread.
    pub(crate) fn enter(&self, does: Does, closed: bool, again: bool) -> Result<Pass<'_>, Refused> {
        let word = self.word(does);
        let seen = word.take(CALL);
        let pass = Pass(word);
        if seen & EXCLUSIVE != 0 && !again {
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

    /// In the child of a fork the other threads are gone, and with them their stays. `mine`: how often the thread that
    /// forked is inside a word (a constructor may fork), and whether it is the destroyer.
    pub(crate) fn reset_after_fork(&self, mine: impl Fn(&Published) -> u64, destroyer: bool) {
        for word in self.words() {
            let stays = mine(word) * CALL + if destroyer { EXCLUSIVE } else { 0 };
            word.publish(word.read() & !(CALLS | EXCLUSIVE) | stays);
        }
        self.owner.publish(destroyer.into());
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
const LOOKED_AT: usize = SHARDS;

#[cfg(not(Py_GIL_DISABLED))]
#[inline]
fn shard_of_thread() -> usize {
    0
}

#[cfg(Py_GIL_DISABLED)]
const LOOKED_AT: usize = SHARDS - 1;

#[cfg(Py_GIL_DISABLED)]
std::thread_local! {
    /// This thread's shard; at first none; see [`look_at_thread`].
    static MINE: std::cell::Cell<usize> = const { std::cell::Cell::new(usize::MAX) };
}

/// Threads take shards in the order of their first call, round and round.
#[cfg(Py_GIL_DISABLED)]
#[inline]
fn shard_of_thread() -> usize {
    let mine = MINE.get();
    if mine < LOOKED_AT { mine } else { other_shard(mine) }
}

#[cfg(Py_GIL_DISABLED)]
#[cold]
fn other_shard(mine: usize) -> usize {
    use std::sync::OnceLock;

    static NEXT: OnceLock<Published> = OnceLock::new();
    if mine == LOOKED_AT {
        return LOOKED_AT;
    }
    let mine = NEXT.get_or_init(|| Published::new(0)).take(1) as usize % LOOKED_AT;
    MINE.set(mine);
    mine
}

/// Makes every call of this thread a long one, of whatever cache, until [`look_away`] gets back what this returns.
#[cfg(Py_GIL_DISABLED)]
pub(crate) fn look_at_thread() -> usize {
    MINE.replace(LOOKED_AT)
}

#[cfg(Py_GIL_DISABLED)]
pub(crate) fn look_away(before: usize) {
    MINE.set(before);
}
