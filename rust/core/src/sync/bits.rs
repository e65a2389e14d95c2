#![forbid(unsafe_code)]
//! Words of bits that are taken and given back, and the summary bits that say where to look.
//!
//! A summary bit that is tested by a plain load loses chunks: one thread frees a page and sees the bit still set, another
//! clears the bit because it saw no free page. Both sides therefore put a sequentially consistent fence between their write
//! and their read, so that at least one of the two sees the other's write.

use super::plant::Bug;
use super::shim::{AtomicU64, fence};
use core::sync::atomic::Ordering;

/// 64 things, one bit each; a set bit is taken.
#[repr(transparent)]
pub(crate) struct BitWord(AtomicU64);

impl BitWord {
    /// These bits are taken.
    #[cfg(not(loom))]
    pub const fn new(bits: u64) -> Self {
        Self(AtomicU64::new(bits))
    }

    /// These bits are taken.
    #[cfg(loom)]
    pub fn new(bits: u64) -> Self {
        Self(AtomicU64::new(bits))
    }

    /// Takes exactly these bits: in a forked child, which has one thread.
    #[cfg(not(loom))]
    pub fn reset(&self, bits: u64) {
        self.0.store(bits, Ordering::Release);
    }

    /// The bits at some moment, for a decision that a swap will check.
    #[inline]
    pub fn peek(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes `mask` if the word is still `seen`. Acquire: pairs with [`BitWord::give`], so what the last owner did with the
    /// pages happened before what the new one does.
    #[inline]
    pub fn try_take(&self, seen: u64, mask: u64) -> Result<(), u64> {
        debug_assert_eq!(seen & mask, 0);
        self.0.compare_exchange(seen, seen | mask, Ordering::Acquire, Ordering::Relaxed).map(|_| ())
    }

    /// Gives `mask` back; returns the bits before. Release: pairs with [`BitWord::try_take`].
    #[inline]
    pub fn give(&self, mask: u64) -> u64 {
        let order = if Bug::WeakGive.planted() { Ordering::Relaxed } else { Ordering::Release };
        self.0.fetch_and(!mask, order)
    }

    /// Sets bits that carry no ownership (the dirty bits). Relaxed: who reads them owns the pages by another word.
    #[inline]
    pub fn mark(&self, mask: u64) {
        self.0.fetch_or(mask, Ordering::Relaxed);
    }

    /// Clears bits that carry no ownership.
    #[inline]
    pub fn unmark(&self, mask: u64) {
        self.0.fetch_and(!mask, Ordering::Relaxed);
    }
}

/// 64 summary bits: set means "may have space".
#[repr(transparent)]
pub(crate) struct SummaryWord(AtomicU64);

impl SummaryWord {
    #[cfg(test)]
    pub fn new(bits: u64) -> Self {
        Self(AtomicU64::new(bits))
    }

    /// The bits at some moment. Acquire: pairs with the fence in [`SummaryWord::raise`], so that who finds a new thing by its
    /// bit sees what its maker wrote about it. Every change is a read-modify-write, which keeps that pairing through others.
    #[inline]
    pub fn peek(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// After space was given back: makes sure that the bit is set. The fence pairs with the one in [`SummaryWord::lower`].
    #[inline]
    pub fn raise(&self, mask: u64) {
        full_fence();
        if self.0.load(Ordering::Relaxed) & mask != mask {
            self.0.fetch_or(mask, Ordering::Relaxed);
        }
    }

    /// After no space was found: clears the bit, and sets it again if `has_space` finds some after all. The fence pairs with
    /// the one in [`SummaryWord::raise`].
    #[inline]
    pub fn lower(&self, mask: u64, has_space: impl FnOnce() -> bool) {
        self.0.fetch_and(!mask, Ordering::Relaxed);
        full_fence();
        if has_space() {
            self.0.fetch_or(mask, Ordering::Relaxed);
        }
    }
}

/// Dropping it is one of the planted bugs; the model of the summary bit must see a chunk lost then.
fn full_fence() {
    if !cfg!(feature = "plant-no-summary-fence") {
        fence(Ordering::SeqCst);
    }
}
