#![forbid(unsafe_code)]
//! Roles of read sections and grace periods.
//!
//! | role | orders | for |
//! |---|---|---|
//! | [`GraceSeq`] | a cookie's taker before the period that it asks for, that period's end before who sees it | the sequence of grace periods |
//! | [`ReaderWord`] | a section's reads before its end is seen | one thread's section |
//! | [`CrowdWord`] | as above, for threads that share it | readers that could get no word of their own |
//! | [`Sides`] | which side of the two pays for the fence between | a reader's entry against a scan |
//!
//! The race that decides everything is one of two stores and two loads. A reader stores its word, then reads what is
//! published; an updater unpublishes, then reads the word. One of the two must see the other, for which each needs a full
//! fence between its store and its load. A reader's costs more than all the rest of a section, so the updater's side pays for
//! both where the kernel helps: membarrier(2) makes every running thread of the process pass a full fence. Then the reader
//! only has to keep the compiler from reordering ([`Sides::light`]).
//!
//! A system call for each period is too much where nobody else ever reads. So a thread's very first section has a fence in any
//! case ([`Sides::first`]), and a scan that finds no other thread to have ever had a section needs no membarrier: whose first
//! section it has missed reads after its own fence.

use super::plant::Bug;
use super::shim::{AtomicU64, fence};
use core::sync::atomic::{AtomicPtr, AtomicU64 as PlainU64, AtomicUsize, Ordering, compiler_fence};

/// Both models and statics make these; loom's atomics are not for statics.
macro_rules! new {
    ($doc:literal, $value:expr) => {
        #[doc = $doc]
        #[cfg(not(loom))]
        pub const fn new() -> Self {
            Self($value)
        }
        #[doc = $doc]
        #[cfg(loom)]
        pub fn new() -> Self {
            Self($value)
        }
    };
}

/// The sequence of grace periods: even, none is in progress; odd, one is. Every change is a read-modify-write, so what one
/// thread releases reaches whoever acquires a later value, through all changes between.
#[repr(transparent)]
pub(crate) struct GraceSeq(AtomicU64);

impl GraceSeq {
    new!("No grace period so far.", AtomicU64::new(0));

    /// The sequence at some moment. Acquire: pairs with [`GraceSeq::step`] (a reader that finds a period begun sees what was
    /// unpublished before its beginning; who finds one ended has every older section behind it) and through it with
    /// [`GraceSeq::snapshot`].
    #[inline(always)]
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// The sequence, for a cookie. A read-modify-write although it changes nothing: its release is what the next
    /// [`GraceSeq::step`] acquires, so that what the caller unpublished comes before the period that it waits for.
    pub fn snapshot(&self) -> u64 {
        if Bug::RcuPlainCookie.planted() {
            return self.0.load(Ordering::Relaxed);
        }
        self.0.fetch_add(0, Ordering::AcqRel)
    }

    /// Goes on from `seen` to the next value, if nobody else did. Pairs with [`GraceSeq::read`], [`GraceSeq::snapshot`] and
    /// itself.
    pub fn step(&self, seen: u64) -> bool {
        self.0.compare_exchange(seen, seen + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

/// What one thread shows of its read sections; it and its signal handlers alone store.
#[repr(transparent)]
pub(crate) struct ReaderWord(AtomicU64);

impl ReaderWord {
    new!("Outside of any section.", AtomicU64::new(0));

    /// The owner's own value.
    #[inline(always)]
    pub fn mine(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Enters the outermost section. Release: a scan that reads this value has the section before it behind it (pairs with
    /// [`ReaderWord::seen`]). [`Sides::light`] has to follow.
    #[inline(always)]
    pub fn enter(&self, value: u64) {
        if Bug::RcuHiddenReader.planted() {
            return;
        }
        let order = if Bug::RcuWeakEnter.planted() { Ordering::Relaxed } else { Ordering::Release };
        self.0.store(value, order);
    }

    /// Enters or leaves a section inside another: who scans need not tell the two values apart.
    #[inline(always)]
    pub fn nest(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Leaves a section. Release: what the section read was read before a scan sees this. Pairs with [`ReaderWord::seen`].
    #[inline(always)]
    pub fn leave(&self, value: u64) {
        let order = if Bug::RcuWeakLeave.planted() { Ordering::Relaxed } else { Ordering::Release };
        self.0.store(value, order);
    }

    /// Another thread's value. Acquire: pairs with [`ReaderWord::leave`] and [`ReaderWord::enter`].
    pub fn seen(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// How many readers are inside who could get no word of their own. Read-modify-writes on one word: slow, but never refused.
#[repr(transparent)]
pub(crate) struct CrowdWord(AtomicU64);

impl CrowdWord {
    new!("Nobody.", AtomicU64::new(0));

    /// One more; a full fence has to follow ([`CrowdWord::full`]).
    pub fn enter(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less. Release: pairs with [`CrowdWord::seen`].
    pub fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Release);
    }

    /// How many. Acquire: pairs with [`CrowdWord::leave`].
    pub fn seen(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Sets the number: in a forked child, which has one thread.
    #[cfg(not(loom))]
    pub fn reset(&self, readers: u64) {
        self.0.store(readers, Ordering::Release);
    }

    /// The fence between entry and the section's reads. Pairs with [`Sides::heavy`].
    pub fn full() {
        fence(Ordering::SeqCst);
    }
}

/// Which side pays for the fence between a reader's entry and a scan: not known yet, the scan by membarrier, or both by a
/// fence each. Once known it stays; what is not known yet is paid by both.
#[repr(transparent)]
pub(crate) struct Sides(PlainU64);

const UNKNOWN: u64 = 0;
const MEMBARRIER: u64 = 1;
const FENCES: u64 = 2;

impl Sides {
    /// Not known yet.
    pub const fn new() -> Self {
        Self(PlainU64::new(UNKNOWN))
    }

    /// A reader's side, between its entry and its first read of what is published. Pairs with [`Sides::heavy`].
    #[inline(always)]
    pub fn light(&self) {
        if Bug::RcuNoFence.planted() {
            return;
        }
        // No loom model has a membarrier: there both sides fence, but for the model of periods that need none.
        if self.0.load(Ordering::Relaxed) == MEMBARRIER {
            compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
    }

    /// A reader's side in its first section since it is known to scans as a reader, after [`Sides::light`]. Pairs with the fence
    /// of [`Sides::heavy`], which has no membarrier if it does not know the reader yet.
    #[cold]
    pub fn first(&self) {
        if !Bug::RcuLateReader.planted() {
            fence(Ordering::SeqCst);
        }
    }

    /// Settles the question, if it is open, by what `try_register` says; true if the scan pays alone.
    pub fn settle(&self, try_register: impl FnOnce() -> bool) -> bool {
        if self.0.load(Ordering::Relaxed) == UNKNOWN {
            let found = if try_register() { MEMBARRIER } else { FENCES };
            // Lost to another thread: that one's finding is everybody's.
            let _ = self.0.compare_exchange(UNKNOWN, found, Ordering::Relaxed, Ordering::Relaxed);
        }
        self.0.load(Ordering::Relaxed) == MEMBARRIER
    }

    /// The scan's side, after what was unpublished and before the readers' words are read. `others`: whether another thread than
    /// the caller's is known as a reader. Pairs with [`Sides::light`], [`Sides::first`] and [`CrowdWord::full`].
    pub fn heavy(&self, others: impl FnOnce() -> bool, try_register: impl FnOnce() -> bool, membarrier: impl FnOnce()) {
        if Bug::RcuNoMembarrier.planted() {
            return;
        }
        fence(Ordering::SeqCst);
        if others() && self.settle(try_register) {
            membarrier();
        }
    }
}

/// A pointer that one thread and its signal handlers use, and nobody else.
#[repr(transparent)]
pub(crate) struct OwnPtr<T>(AtomicPtr<T>);

impl<T> OwnPtr<T> {
    /// Null.
    pub const fn new() -> Self {
        Self(AtomicPtr::new(core::ptr::null_mut()))
    }

    /// The pointer.
    #[inline(always)]
    pub fn get(&self) -> *mut T {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets it.
    #[inline(always)]
    pub fn set(&self, pointer: *mut T) {
        self.0.store(pointer, Ordering::Relaxed);
    }

    /// Sets it if it is null: false if a signal handler was quicker.
    pub fn set_once(&self, pointer: *mut T) -> bool {
        self.0.compare_exchange(core::ptr::null_mut(), pointer, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Null again.
    pub fn clear(&self) -> *mut T {
        self.0.swap(core::ptr::null_mut(), Ordering::Relaxed)
    }
}

/// A number that one thread uses, and nobody else.
#[repr(transparent)]
pub(crate) struct OwnWord(AtomicUsize);

impl OwnWord {
    /// Zero.
    pub const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// The number.
    #[inline(always)]
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets it.
    #[inline(always)]
    pub fn set(&self, n: usize) {
        self.0.store(n, Ordering::Relaxed);
    }
}
