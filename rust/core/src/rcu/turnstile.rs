//! Keeps short visits apart from whoever wants to be alone, and counts what they did, without an atomic read-modify-write.
//!
//! A visitor's side is two plain stores and a load of a line that nobody writes; who wants to be alone pays for both sides'
//! fences, as a grace period does. Each thread has a seat of its own, of which the first 24 are no other thread's; later threads
//! share the rest and pay for it with atomic additions.
//!
//! ```text
//! a seat's two words, one for each kind of visit:  | done so far : 48 | visits going on : 16 |
//! ```
//!
//! Visitor: visit + 1; light fence; look at the flags; work; visit - 1, done + 1. Who wants to be alone: raise a flag; heavy
//! fence; wait until no seat has a visit. One of the two must see the other.
#![forbid(unsafe_code)]

use super::grace::Platform;
#[cfg(not(loom))]
use super::here::Here;
use super::seat::{SEATS, Seat};
use crate::sync::{Published, Sides};

/// One visit that is going on.
const VISIT: u64 = 1;
const VISITS: u64 = 0xffff;
/// One thing done. Counts wrap without touching the visits.
const DONE: u64 = 1 << 16;
const DONE_AT: u32 = DONE.trailing_zeros();

/// What a visit does, which decides where it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The first kind.
    Enter,
    /// The second kind.
    Leave,
}

/// A thread's words, in a line of their own.
#[repr(align(64))]
struct Words([Published; 2]);

/// See the module's text in rust/core/src/rcu/turnstile.rs.
pub struct Turnstile {
    flags: Published,
    words: Box<[Words; SEATS]>,
}

/// A visit of any length; ends when dropped, on the thread that began it.
#[derive(Debug)]
pub struct Visit<'t> {
    word: &'t Published,
    own: bool,
}

impl Visit<'_> {
    /// The word that shows the visit: which one says whose visits [`Turnstile::forget_visits`] is to keep.
    #[must_use]
    pub fn word(&self) -> &Published {
        self.word
    }

    /// Counts `n` things done.
    pub fn count(&self, n: u64) {
        add(self.word, self.own, n.wrapping_mul(DONE));
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        add(self.word, self.own, VISIT.wrapping_neg());
    }
}

#[inline]
fn add(word: &Published, own: bool, n: u64) {
    if own {
        word.publish(word.read().wrapping_add(n));
    } else {
        word.take(n);
    }
}

impl Turnstile {
    pub(super) fn empty() -> Self {
        let words = |_| Words([Published::new(0), Published::new(0)]);
        Self { flags: Published::new(0), words: Box::new(std::array::from_fn(words)) }
    }

    /// Runs `visit`, which says whether it did one thing, unless a flag is raised. It must not visit again inside.
    #[inline(always)]
    pub(super) fn pass_at<R>(
        &self,
        seat: Seat,
        sides: &Sides,
        kind: Kind,
        visit: impl FnOnce() -> (R, bool),
    ) -> Option<R> {
        let word = &self.words[seat.index()].0[kind as usize];
        if !seat.is_own() {
            return if seat.is_watched() { None } else { self.pass_shared(word, sides, visit) };
        }
        // The seat's owner alone stores here.
        let seen = word.read();
        word.publish(seen.wrapping_add(VISIT));
        sides.light();
        if self.flags.read() != 0 {
            word.publish(seen);
            return None;
        }
        let (result, done) = visit();
        word.publish(if done { seen.wrapping_add(DONE) } else { seen });
        Some(result)
    }

    #[cold]
    fn pass_shared<R>(&self, word: &Published, sides: &Sides, visit: impl FnOnce() -> (R, bool)) -> Option<R> {
        let stay = Visit { word, own: false };
        word.take(VISIT);
        sides.light();
        if self.flags.read() != 0 {
            return None;
        }
        let (result, done) = visit();
        if done {
            stay.count(1);
        }
        Some(result)
    }

    pub(super) fn visit_at(&self, seat: Seat, sides: &Sides, kind: Kind) -> (Visit<'_>, u64) {
        let visit = Visit { word: &self.words[seat.index()].0[kind as usize], own: seat.is_own() };
        add(visit.word, visit.own, VISIT);
        sides.light();
        let flags = self.flags.read();
        (visit, flags)
    }

    /// The flags that are raised.
    #[inline]
    #[must_use]
    pub fn flags(&self) -> u64 {
        self.flags.read()
    }

    /// Raises some flags and lowers others by one change. Visits that are going on go on.
    pub fn change(&self, raise: u64, lower: u64) {
        let mut seen = self.flags.read();
        while let Err(now) = self.flags.publish_if(seen, (seen | raise) & !lower) {
            seen = now;
        }
    }

    pub(super) fn is_empty_for<P: Platform>(&self, sides: &Sides) -> bool {
        sides.heavy(|| true, P::register, P::fence_everybody);
        self.words.iter().flat_map(|seat| &seat.0).all(|word| word.read() & VISITS == 0)
    }

    /// Things done so far, of each kind.
    #[must_use]
    pub fn done(&self) -> [u64; 2] {
        [Kind::Enter, Kind::Leave]
            .map(|kind| self.words.iter().map(|seat| seat.0[kind as usize].read() >> DONE_AT).sum())
    }

    /// In the child of a fork the other threads are gone, and with them their visits; `mine` says how many of those in a
    /// word are the calling thread's.
    pub fn forget_visits(&self, mine: impl Fn(&Published) -> u64) {
        for word in self.words.iter().flat_map(|seat| &seat.0) {
            word.publish((word.read() & !VISITS) | mine(word));
        }
    }
}

/// Over the running system and the calling thread's seat.
#[cfg(not(loom))]
impl Turnstile {
    /// One without a flag and without visits.
    #[must_use]
    pub fn new() -> Self {
        super::watch_forks();
        super::domain::settle();
        Self::empty()
    }

    /// Runs `visit`, which says whether it did one thing, unless a flag is raised; `None` then. It must not visit the same
    /// turnstile inside, nor unwind. A few nanoseconds, and no atomic read-modify-write for the first 24 threads.
    #[inline(always)]
    pub fn pass<R>(&self, here: &Here, kind: Kind, visit: impl FnOnce() -> (R, bool)) -> Option<R> {
        self.pass_at(here.seat(), &super::domain::GRACE.sides, kind, visit)
    }

    /// Begins a visit of any length, whatever the flags; gives them too. Visits may lie inside one another.
    pub fn visit(&self, kind: Kind) -> (Visit<'_>, u64) {
        self.visit_at(Seat::mine(), &super::domain::GRACE.sides, kind)
    }

    /// Whether no visit is going on that began before the flags were as they are now. Costs a membarrier.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.is_empty_for::<super::domain::System>(&super::domain::GRACE.sides)
    }
}

#[cfg(not(loom))]
impl Default for Turnstile {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for Turnstile {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Turnstile").field("flags", &self.flags()).field("done", &self.done()).finish_non_exhaustive()
    }
}

#[cfg(all(test, loom))]
#[path = "turnstile_models.rs"]
mod models;
#[cfg(all(test, not(any(loom, shuttle))))]
#[path = "turnstile_tests.rs"]
mod tests;
