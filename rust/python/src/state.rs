//! The life of one Python object over a slab object, as one word:
//!
//! ```text
//! live, n views --- free ---------------------------> freed        where n = 0
//!   |   |  \------ claim ----> claimed --- handed --> freed        where n = 0; unclaim takes it back
//!   |   \--------- export, unexport: n + 1, n - 1
//!   \------------- retire ---> retired, n views -----> freed        the last view to go hands it over,
//!                                     \--> parked --> freed        or leaves that to somebody who may wait
//! ```
//!
//! Claimed: a bulk free that is still checking its list, or a `free_rcu` on its way to the core. Retired: `free_rcu` was called
//! while views looked into it: there are no new ones, and with the last one the object is the core's.
//!
//! Every step is one atomic change, so that of two threads that free the same object exactly one wins, and a free
//! cannot slip between the check and the count of a new memoryview. Where the GIL orders all callers anyway, the same
//! steps are plain loads and stores.
//!
//! Models are in `state_models.rs`; the core's loom runs them, as it has the shim for the atomics here.
#![forbid(unsafe_code)]

use haybarn::sync::{Bug, Published};

/// The memory is not this wrapper's any more.
const FREED: u64 = 1 << 63;
/// One call holds the object.
const CLAIMED: u64 = 1 << 62;
/// `free_rcu` was called while views looked into it; below: those that still do.
const RETIRED: u64 = 1 << 61;
/// With `RETIRED`: no view is left, but the object has not been handed over; below: the next one parked.
const PARKED: u64 = 1 << 60;
/// It is a callback's view of a slot, which nobody frees; it ends with the callback, by `FREED`. Below: buffer exports.
const VIEW: u64 = 1 << 59;

/// The state word of one object.
#[repr(transparent)]
pub(crate) struct State(Published);

/// Why an object cannot be freed or used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It has been freed, at once or for the end of a grace period.
    Freed,
    /// Another call (possibly the caller's own: a duplicate in its list) is freeing it.
    Claimed,
    /// That many buffers (memoryviews, arrays) look into it.
    Exported(u64),
    /// It is the view of a constructor or destructor that is running.
    View,
    /// It was the view of one that has returned.
    PastView,
}

/// What a `free_rcu` has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retired {
    /// No view is there: the caller has claimed the object and hands it over.
    Now,
    /// Views are there: the last of them hands it over.
    AtLastRelease,
}

impl State {
    /// A live object without exports.
    pub(crate) fn live() -> Self {
        Self(Published::new(0))
    }

    /// What a constructor or destructor gets to see: as live, but not to be freed.
    pub(crate) fn view() -> Self {
        Self(Published::new(VIEW))
    }

    /// Whether it is a view, over or not.
    pub(crate) fn is_view(&self) -> bool {
        self.0.read() & VIEW != 0
    }

    /// Ends a view: no new exports from now on. How many there are; `pin` is called before the end if there are any then, so
    /// that who releases the last of them finds what it did.
    pub(crate) fn end_view(&self, mut pin: impl FnMut()) -> u64 {
        loop {
            let seen = self.0.read();
            if seen != VIEW && !Bug::ObjectLatePin.planted() {
                pin();
            }
            if self.change(seen, seen | FREED) {
                if seen != VIEW && Bug::ObjectLatePin.planted() {
                    pin();
                }
                return seen & !VIEW;
            }
        }
    }

    /// One buffer less; whether it was the last one of a view that has ended.
    pub(crate) fn unexport_view(&self) -> bool {
        self.0.take(u64::MAX) == FREED | VIEW | 1
    }

    /// Live to freed; the winner owns the memory. Refused while buffers are exported.
    #[inline]
    pub(crate) fn free(&self) -> Result<(), Refusal> {
        self.step(0, FREED)
    }

    /// Live to claimed: the first half of a bulk free.
    #[inline]
    pub(crate) fn claim(&self) -> Result<(), Refusal> {
        self.step(0, CLAIMED)
    }

    /// Claimed to live: the bulk free found something wrong with another object of its list, or the core refused.
    pub(crate) fn unclaim(&self) {
        self.0.publish(0);
    }

    /// To freed, by the one who holds it (claimed, or retired without views): the memory is the core's from here on.
    #[inline]
    pub(crate) fn free_claimed(&self) {
        self.0.publish(FREED);
    }

    /// The first step of a `free_rcu`: from here on there are no new views and no other free.
    pub(crate) fn retire(&self) -> Result<Retired, Refusal> {
        loop {
            let seen = self.0.read();
            if seen >= VIEW {
                return Err(refusal(seen));
            }
            let (to, what) = if seen == 0 { (CLAIMED, Retired::Now) } else { (seen | RETIRED, Retired::AtLastRelease) };
            if self.change(seen, to) {
                return Ok(what);
            }
        }
    }

    /// Parks a retired object without views, or a claimed one, in front of `next` (0: none), by the one who holds it.
    fn park(&self, next: u64) {
        debug_assert!(next < PARKED);
        self.0.publish(RETIRED | PARKED | next);
    }

    /// What it was parked in front of.
    pub(crate) fn parked_before(&self) -> u64 {
        self.0.read() & (PARKED - 1)
    }

    /// One more buffer looks into the object.
    pub(crate) fn export(&self) -> Result<(), Refusal> {
        loop {
            let seen = self.0.read();
            if seen >= PARKED {
                return Err(refusal(seen));
            }
            if self.change(seen, seen + 1) {
                return Ok(());
            }
        }
    }

    /// One buffer less. True: it was the last of a retired object, which is the caller's now to hand over.
    #[must_use]
    pub(crate) fn unexport(&self) -> bool {
        if Bug::ObjectLostRelease.planted() {
            let seen = self.0.read();
            self.0.publish(seen - 1);
            return seen == RETIRED + 1;
        }
        self.0.take(u64::MAX) == RETIRED + 1
    }

    /// Why a use is refused, if it is.
    pub(crate) fn usable(&self) -> Result<(), Refusal> {
        match self.0.read() {
            word if word & (FREED | RETIRED) != 0 => Err(refusal(word)),
            _ => Ok(()),
        }
    }

    /// Whether it has been freed, at once or for the end of a grace period.
    #[inline]
    pub(crate) fn is_freed(&self) -> bool {
        self.0.read() & (FREED | RETIRED) != 0
    }

    #[inline]
    fn step(&self, from: u64, to: u64) -> Result<(), Refusal> {
        loop {
            let seen = self.0.read();
            if seen != from {
                return Err(refusal(seen));
            }
            if self.change(seen, to) {
                return Ok(());
            }
        }
    }

    /// Under the GIL nobody comes between the caller's read and this store.
    #[cfg(not(any(Py_GIL_DISABLED, loom)))]
    #[inline]
    fn change(&self, _seen: u64, to: u64) -> bool {
        self.0.publish(to);
        true
    }

    #[cfg(any(Py_GIL_DISABLED, loom))]
    #[inline]
    fn change(&self, seen: u64, to: u64) -> bool {
        if Bug::ObjectUnchecked.planted() {
            self.0.publish(to);
            return true;
        }
        self.0.publish_if(seen, to).is_ok()
    }
}

/// Parked objects, by a number each that is not 0 and is smaller than [`PARKED`]; their state words are the links. Entries are only
/// ever taken all at once, so that the list's head needs no tag.
pub(crate) struct Parked(Published);

impl Parked {
    /// None.
    pub(crate) fn none() -> Self {
        Self(Published::new(0))
    }

    /// Parks an object that is the caller's alone, by its number.
    pub(crate) fn push(&self, object: &State, number: u64) {
        loop {
            let first = self.0.read();
            object.park(first);
            if self.0.publish_if(first, number).is_ok() {
                return;
            }
        }
    }

    /// Whether nothing is parked.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.read() == 0
    }

    /// Takes all that is parked: the number of the first, which leads to the others by [`State::parked_before`]; 0: none.
    pub(crate) fn take(&self) -> u64 {
        loop {
            let first = self.0.read();
            if first == 0 || self.0.publish_if(first, 0).is_ok() {
                return first;
            }
            if Bug::ObjectParkedTwice.planted() {
                return first;
            }
        }
    }
}

fn refusal(word: u64) -> Refusal {
    match word {
        // First: the bits below are a link where it is parked.
        w if w & RETIRED != 0 => Refusal::Freed,
        w if w & (FREED | VIEW) == FREED | VIEW => Refusal::PastView,
        w if w & VIEW != 0 => Refusal::View,
        w if w & FREED != 0 => Refusal::Freed,
        w if w & CLAIMED != 0 => Refusal::Claimed,
        exports => Refusal::Exported(exports),
    }
}
