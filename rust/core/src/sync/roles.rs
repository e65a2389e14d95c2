#![forbid(unsafe_code)]
//! Atomics by role. A role fixes its memory orderings, so that no caller picks one.
//!
//! | role | orders | for |
//! |---|---|---|
//! | [`Counter`] | nothing | statistics; read when quiet it is exact |
//! | [`Published`] | what was written before `publish` is seen after `read` | fields that are written once |
//! | [`Gong`] | what a ringer did before is seen by who hears it | kicks of the service thread |
//! | [`TryFlag`] | the critical section between `try_take` and `release` | one CPU's slot on `locked` and `virtual` |

use super::shim::AtomicU64;
use core::sync::atomic::{AtomicPtr, AtomicU64 as PlainU64, Ordering};

/// A statistic. Never modelled: nothing may be decided by its order.
#[repr(transparent)]
#[derive(Debug, Default)]
pub struct Counter(PlainU64);

impl Counter {
    /// A counter at zero.
    #[must_use]
    pub const fn new() -> Self {
        Self(PlainU64::new(0))
    }

    /// Adds `n`; wraps.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Subtracts `n`; wraps, so that a difference kept on two CPUs still sums to the truth.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// The value; exact once the threads that add have been joined.
    #[inline]
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets the value.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }
}

/// A word that hands over what was written before it.
#[repr(transparent)]
#[derive(Debug)]
pub struct Published(AtomicU64);

impl Published {
    /// A word holding `value`.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    /// A word holding `value`.
    #[cfg(loom)]
    #[must_use]
    pub fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    /// The word and, with it, all that its publisher wrote before. Pairs with [`Published::publish`].
    #[inline]
    #[must_use]
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Stores the word after everything written so far. Pairs with [`Published::read`].
    #[inline]
    pub fn publish(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }

    /// Publishes `new` if the word is still `old`; gives back what it found otherwise.
    ///
    /// # Errors
    /// The value found, when it was not `old`.
    #[inline]
    pub fn publish_if(&self, old: u64, new: u64) -> Result<(), u64> {
        self.0.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).map(|_| ())
    }

    /// Takes a number that nobody else gets: the value before adding `n`.
    #[inline]
    pub fn take(&self, n: u64) -> u64 {
        self.0.fetch_add(n, Ordering::AcqRel)
    }
}

/// As [`Published`], for a pointer that a `static` starts with.
#[repr(transparent)]
#[derive(Debug)]
pub struct PublishedPtr<T>(AtomicPtr<T>);

impl<T> PublishedPtr<T> {
    /// A pointer known at compile time.
    #[must_use]
    pub const fn new(pointer: *mut T) -> Self {
        Self(AtomicPtr::new(pointer))
    }

    /// The pointer, and all that its publisher wrote before. Pairs with [`PublishedPtr::publish`].
    #[inline(always)]
    #[must_use]
    pub fn read(&self) -> *mut T {
        self.0.load(Ordering::Acquire)
    }

    /// Where the pointer lies, for instructions that load it themselves, at least as ordered as [`PublishedPtr::read`].
    #[inline(always)]
    #[must_use]
    pub const fn place(&self) -> *const *mut T {
        (&raw const self.0).cast()
    }

    /// Stores the pointer after everything written so far. Pairs with [`PublishedPtr::read`].
    pub fn publish(&self, pointer: *mut T) {
        self.0.store(pointer, Ordering::Release);
    }

    /// Publishes `new` if the pointer is still `old`. Pairs with [`PublishedPtr::read`].
    pub fn publish_if(&self, old: *mut T, new: *mut T) -> bool {
        self.0.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

/// A flag that is tried, never waited for.
#[repr(transparent)]
#[derive(Debug)]
pub struct TryFlag(AtomicU64);

impl TryFlag {
    /// A free flag.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// A free flag.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Takes the flag for `owner` (not 0) if it is free or was left by `stale` (a holder that fork took away; 0 for none).
    /// Pairs with [`TryFlag::release`].
    #[inline]
    pub fn try_take(&self, owner: u64, stale: impl Fn(u64) -> bool) -> bool {
        debug_assert_ne!(owner, 0);
        let seen = self.0.load(Ordering::Relaxed);
        if seen != 0 && !stale(seen) {
            return false;
        }
        self.0.compare_exchange(seen, owner, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// True if `who` says so of the present holder's mark (0: free).
    #[inline]
    pub fn is_held_by(&self, who: impl Fn(u64) -> bool) -> bool {
        who(self.0.load(Ordering::Relaxed))
    }

    /// Leaves the flag, which the caller has taken, to another mark. Pairs with [`TryFlag::try_take`].
    #[inline]
    pub fn leave_to(&self, owner: u64) {
        self.0.store(owner, Ordering::Release);
    }

    /// Frees the flag. Pairs with [`TryFlag::try_take`].
    #[inline]
    pub fn release(&self) {
        self.0.store(0, Ordering::Release);
    }
}

/// A request that is heard once, however often it was made.
#[repr(transparent)]
pub(crate) struct Gong(PlainU64);

impl Gong {
    /// A silent one.
    pub const fn new() -> Self {
        Self(PlainU64::new(0))
    }

    /// Rings; true if it was silent. Sequentially consistent with [`Gong::hear`]: of a ringer who queued work before and a
    /// hearer who looks for work afterwards, one sees the other.
    #[inline]
    pub fn ring(&self) -> bool {
        self.0.swap(1, Ordering::SeqCst) == 0
    }

    /// True if it was rung; silent from now on. Pairs with [`Gong::ring`].
    pub fn hear(&self) -> bool {
        self.0.swap(0, Ordering::SeqCst) == 1
    }

    /// True if nobody has heard it yet.
    #[inline]
    pub fn is_rung(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 1
    }
}

impl Default for TryFlag {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
#[path = "roles_tests.rs"]
mod tests;
