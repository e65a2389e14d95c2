//! Keeps the destruction of a cache apart from every call that is inside it, and counts what Python took and gave back.
//!
//! A destroyer raises a flag, then waits for the calls inside; a call shows itself, then looks at the flags: one of the two
//! sees the other. How a call shows itself is `words`' part, of which there are two: where the GIL is held for the whole of a
//! short call, the GIL is its stay; free-threaded, it is a plain store at a turnstile of the core's.
//!
//! `LONG` is for good: the calls of a cache with a constructor or destructor may run Python code, and those of a tracked one are
//! noted, so none is short.
//!
//! Why objects are counted here: the core can count its hits, exactly, by committing cursor and counter in one 16-byte store;
//! but a cursor that goes through a vector register costs 4 ns more per call than one that stays in a general one (measured on
//! Zen 5: a pair is 9 ns with it, 1 without). Every call of Python comes through here, where it costs next to nothing.
#![forbid(unsafe_code)]

#[cfg(Py_GIL_DISABLED)]
#[path = "gate_free_threaded.rs"]
mod words;
#[cfg(not(Py_GIL_DISABLED))]
#[path = "gate_under_gil.rs"]
mod words;

use haybarn::sync::Published;
pub(crate) use words::Here;
use words::{Stay, Words};
#[cfg(Py_GIL_DISABLED)]
pub(crate) use words::{Watched, look_at_thread};

/// A destroyer is inside, or waits to be alone.
const EXCLUSIVE: u64 = 1;
/// No new objects: left by `with`, or destroyed.
const CLOSED: u64 = 1 << 1;
/// No call is short.
const LONG: u64 = 1 << 2;

/// What a call does with objects, which decides the word that it counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    /// Allocates, or anything else but freeing.
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
    words: Words,
    /// 1 while a destroyer has or wants the gate.
    owner: Published,
}

/// A stay inside for a call of any length.
pub(crate) struct Pass<'g>(Stay<'g>);

impl Pass<'_> {
    /// The word that counts the stay.
    pub(crate) fn word(&self) -> &Published {
        self.0.word()
    }

    /// Counts objects that the call allocated or freed.
    pub(crate) fn count(&self, objects: usize) {
        self.0.count(objects as u64);
    }
}

impl Gate {
    /// `long`: whether calls run Python code.
    pub(crate) fn new(long: bool) -> Self {
        let words = Words::new();
        words.change(if long { LONG } else { 0 }, 0);
        Self { words, owner: Published::new(0) }
    }

    /// No call is short from now on. For a gate that nobody uses yet.
    pub(crate) fn bar_short_calls(&self) {
        self.words.change(LONG, 0);
    }

    /// Runs a call that moves one object (or says with `false` that it did not), if no flag is set. It neither waits nor
    /// runs Python code.
    #[inline(always)]
    pub(crate) fn short<R>(&self, here: &Here, does: Does, call: impl FnOnce() -> (R, bool)) -> Option<R> {
        self.words.short(here, does, call)
    }

    /// Enters for any call; `closed` says whether a closed gate is good enough (freeing, statistics).
    /// `again`: whether the thread is inside already, so that no destroyer can be at work unless it is this thread.
    pub(crate) fn enter(&self, does: Does, closed: bool, again: bool) -> Result<Pass<'_>, Refused> {
        let (stay, flags) = self.words.enter(does);
        let pass = Pass(stay);
        if flags & EXCLUSIVE != 0 && !again {
            return Err(Refused::Busy);
        }
        if flags & CLOSED != 0 && !closed {
            return Err(Refused::Closed);
        }
        Ok(pass)
    }

    /// Whether the gate is closed to new objects.
    pub(crate) fn is_closed(&self) -> bool {
        self.words.flags() & CLOSED != 0
    }

    /// First step of a destroyer: keeps everybody else out. `false`: another destroyer was first.
    pub(crate) fn try_own(&self) -> bool {
        let owned = self.owner.publish_if(0, 1).is_ok();
        if owned {
            self.words.change(EXCLUSIVE, 0);
        }
        owned
    }

    /// Second step: whether all who were inside have left.
    pub(crate) fn is_quiet(&self) -> bool {
        self.words.is_quiet()
    }

    /// Last step: lets others in again; `close` shuts out new objects from now on.
    pub(crate) fn disown(&self, close: bool) {
        self.words.change(if close { CLOSED } else { 0 }, EXCLUSIVE);
        self.owner.publish(0);
    }

    /// In the child of a fork the other threads are gone, and with them their stays. `mine`: how often the thread that
    /// forked is inside a word (a constructor may fork), and whether it is the destroyer.
    pub(crate) fn reset_after_fork(&self, mine: impl Fn(&Published) -> u64, destroyer: bool) {
        self.words.forget_stays(mine);
        if !destroyer {
            self.words.change(0, EXCLUSIVE);
        }
        self.owner.publish(destroyer.into());
    }

    /// Objects that Python allocated and freed so far.
    pub(crate) fn tally(&self) -> (u64, u64) {
        self.words.tally()
    }

    /// The difference; exact when nobody is inside.
    pub(crate) fn live(&self) -> u64 {
        let (allocs, frees) = self.words.tally();
        let live = allocs.wrapping_sub(frees) & words::LARGEST_TALLY;
        // Who reads while others count may see a free and not the allocation before it.
        if live > words::LARGEST_TALLY / 2 { 0 } else { live }
    }
}
