#![forbid(unsafe_code)]
//! A bell beside which one thread sleeps, and which anybody may ring, from a signal handler too: one word, no lock.
//!
//! ```text
//! | asleep | quit | thread | rung |
//! ```
//!
//! All that ringer and sleeper must agree on is in that word, and each changes it by one read-modify-write. So a ringer that
//! finds nobody asleep leaves the bell rung for a thread that has yet to look, or is told that there is no thread at all.

use super::plant::Bug;
use super::shim::AtomicU32;
use core::sync::atomic::Ordering;

/// Rung, and nobody has heard it yet.
const RUNG: u32 = 1;
/// A thread is there, or about to be, that looks before it sleeps or leaves.
const THREAD: u32 = 2;
/// It is to leave.
const QUIT: u32 = 4;
/// It sleeps until the word changes: nothing else is set then.
const ASLEEP: u32 = 8;

/// What a ringer finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rung {
    /// The thread will hear it by itself.
    Coming,
    /// The thread sleeps: who rang has to wake it.
    Asleep,
    /// There is no thread. The bell stays rung for one that is started.
    Nobody,
}

/// See the file's head.
pub(crate) struct Bell(AtomicU32);

impl Bell {
    /// What the word is while the thread sleeps.
    pub const SLEEPING: u32 = THREAD | ASLEEP;

    /// Silent, with nobody beside it.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    #[cfg(loom)]
    pub fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Rings. Sequentially consistent with [`Bell::hear`]: of a ringer who queued work before and a hearer who looks for work
    /// afterwards, one sees the other.
    pub fn ring(&self) -> Rung {
        let seen = self.0.fetch_or(RUNG, Ordering::SeqCst);
        if seen & THREAD == 0 {
            Rung::Nobody
        } else if seen & RUNG == 0 && seen & ASLEEP != 0 {
            Rung::Asleep
        } else {
            Rung::Coming
        }
    }

    /// By the thread: true if it was rung; silent from now on. Pairs with [`Bell::ring`].
    pub fn hear(&self) -> bool {
        self.0.fetch_and(!RUNG, Ordering::SeqCst) & RUNG != 0
    }

    /// True if nobody has heard it yet.
    pub fn is_rung(&self) -> bool {
        self.0.load(Ordering::SeqCst) & RUNG != 0
    }

    /// A thread is on its way; by who has started it. Pairs with [`Bell::ring`].
    pub fn arrive(&self) {
        self.0.fetch_or(THREAD, Ordering::SeqCst);
    }

    /// By the thread, before it leaves: from now on ringers find nobody. What was rung before is there to be seen
    /// ([`Bell::is_rung`]).
    pub fn leave(&self) {
        let left = if Bug::DeafLeaver.planted() { 0 } else { RUNG };
        self.0.fetch_and(left, Ordering::SeqCst);
    }

    /// Tells the thread to leave; true if it has to be woken for it.
    pub fn tell_to_quit(&self) -> bool {
        self.0.fetch_or(QUIT, Ordering::SeqCst) & ASLEEP != 0
    }

    /// By the thread: whether it was told to leave. Pairs with [`Bell::tell_to_quit`].
    pub fn is_to_quit(&self) -> bool {
        self.0.load(Ordering::SeqCst) & QUIT != 0
    }

    /// By the thread: true if it may sleep for as long as the word is [`Bell::SLEEPING`], false if there is something to look at.
    pub fn doze(&self) -> bool {
        if Bug::DeafSleeper.planted() {
            self.0.store(Self::SLEEPING, Ordering::SeqCst);
            return true;
        }
        self.0.compare_exchange(THREAD, Self::SLEEPING, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// By the thread, when it has slept.
    pub fn rise(&self) {
        self.0.fetch_and(!ASLEEP, Ordering::SeqCst);
    }

    /// In a forked child: nobody is there, and nothing was rung.
    #[cfg(not(loom))]
    pub fn reset(&self) {
        self.0.store(0, Ordering::SeqCst);
    }

    /// The word, for the system to compare.
    #[cfg(not(loom))]
    pub const fn word(&self) -> *const u32 {
        self.0.as_ptr()
    }

    #[cfg(loom)]
    pub fn value(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

#[cfg(all(test, loom))]
#[path = "bell_models.rs"]
mod models;
