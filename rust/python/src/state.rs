//! The life of one Python object over a slab object, as one word: live (with a count of buffer exports), claimed by a
//! bulk free that is still checking its list, or freed.
//!
//! Every step is one atomic change, so that of two threads that free the same object exactly one wins, and a free
//! cannot slip between the check and the count of a new memoryview. Where the GIL orders all callers anyway, the same
//! steps are plain loads and stores.
#![forbid(unsafe_code)]

use haybarn::sync::Published;

/// Bit 63: the memory has gone back to its cache. Bit 62: a bulk free holds the object. Bit 61: it is a callback's view of a
/// slot, which nobody frees; it ends with the callback, by bit 63. Below: buffer exports.
const FREED: u64 = 1 << 63;
const CLAIMED: u64 = 1 << 62;
const VIEW: u64 = 1 << 61;

/// The state word of one object.
#[repr(transparent)]
pub(crate) struct State(Published);

/// Why an object cannot be freed or used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It has been freed.
    Freed,
    /// A bulk free (possibly the caller's own: a duplicate in its list) has claimed it.
    Claimed,
    /// That many buffers (memoryviews, arrays) look into it.
    Exported(u64),
    /// It is the view of a constructor or destructor that is running.
    View,
    /// It was the view of one that has returned.
    PastView,
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

    /// Ends a view: no new exports from now on. How many there are; `pin` is called before the end if there are any then, so
    /// that who releases the last of them finds what it did.
    pub(crate) fn end_view(&self, mut pin: impl FnMut()) -> u64 {
        loop {
            let seen = self.0.read();
            if seen != VIEW {
                pin();
            }
            if self.change(seen, seen | FREED) {
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

    /// Claimed to live: the bulk free found something wrong with another object of its list.
    pub(crate) fn unclaim(&self) {
        self.0.publish(0);
    }

    /// Claimed to freed: the second half of a bulk free.
    #[inline]
    pub(crate) fn free_claimed(&self) {
        self.0.publish(FREED);
    }

    /// One more buffer looks into the object.
    pub(crate) fn export(&self) -> Result<(), Refusal> {
        loop {
            let seen = self.0.read();
            if seen >= CLAIMED {
                return Err(refusal(seen));
            }
            if self.change(seen, seen + 1) {
                return Ok(());
            }
        }
    }

    /// One buffer less.
    pub(crate) fn unexport(&self) {
        self.0.take(u64::MAX);
    }

    /// Why a use is refused, if it is.
    pub(crate) fn usable(&self) -> Result<(), Refusal> {
        match self.0.read() {
            word if word & FREED != 0 => Err(refusal(word)),
            _ => Ok(()),
        }
    }

    /// Whether the memory has gone back to its cache.
    #[inline]
    pub(crate) fn is_freed(&self) -> bool {
        self.0.read() & FREED != 0
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
    #[cfg(not(Py_GIL_DISABLED))]
    #[inline]
    fn change(&self, _seen: u64, to: u64) -> bool {
        self.0.publish(to);
        true
    }

    #[cfg(Py_GIL_DISABLED)]
    #[inline]
    fn change(&self, seen: u64, to: u64) -> bool {
        self.0.publish_if(seen, to).is_ok()
    }
}

fn refusal(word: u64) -> Refusal {
    match word {
        w if w & (FREED | VIEW) == FREED | VIEW => Refusal::PastView,
        w if w & VIEW != 0 => Refusal::View,
        w if w & FREED != 0 => Refusal::Freed,
        w if w & CLAIMED != 0 => Refusal::Claimed,
        exports => Refusal::Exported(exports),
    }
}
