#![forbid(unsafe_code)]
//! The doubleword: several fields that change together by one compare-and-swap.
//!
//! Two forms behind one type, both lock-free. **Double** is two 64-bit words and a 128-bit swap (`cmpxchg16b`, `casp`), with
//! room for 64-bit tags. **Packed** is the same fields in 64 bits with shorter tags, for CPUs without a 128-bit swap; a lock
//! is never the fallback. The form belongs to the arena; every word of one arena is of one form.
//!
//! Source: the kernel's `(freelist, counters)` pair and its `__update_freelist_fast` / `_slow` (mm/slub.c).

use super::plant::Bug;
use super::shim::AtomicU64;
use core::marker::PhantomData;
use core::sync::atomic::Ordering;

/// Which of the two forms an arena's doublewords have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Two words, one 128-bit swap.
    Double,
    /// One word, one 64-bit swap.
    Packed,
}

impl Form {
    /// The best form that this CPU has.
    #[must_use]
    pub fn detect() -> Self {
        if super::wide::available() { Self::Double } else { Self::Packed }
    }

    /// The name that `haybarn info` prints.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Double => "double",
            Self::Packed => "packed",
        }
    }
}

/// Fields that one swap changes together.
pub(crate) trait Fields: Copy {
    /// Word 0 alone must be enough for every decision that is taken without a swap.
    fn to_double(self) -> (u64, u64);
    fn from_double(word0: u64, word1: u64) -> Self;
    /// Tags may lose their high bits here; nothing else may.
    fn to_packed(self) -> u64;
    fn from_packed(word: u64) -> Self;
}

/// A doubleword of fields `F`, 16-byte aligned. All zeros is a valid value in both forms.
#[repr(C, align(16))]
pub(crate) struct DoubleWord<F> {
    word0: AtomicU64,
    word1: AtomicU64,
    fields: PhantomData<F>,
}

impl<F: Fields> DoubleWord<F> {
    pub fn new(form: Form, fields: F) -> Self {
        let (word0, word1) = match form {
            Form::Double => fields.to_double(),
            Form::Packed => (fields.to_packed(), 0),
        };
        Self { word0: AtomicU64::new(word0), word1: AtomicU64::new(word1), fields: PhantomData }
    }

    /// The fields as they were at some moment. The two words of the double form may be of two moments: word 0 is true by
    /// itself, and a swap from a torn pair fails. Acquire: pairs with the release half of [`DoubleWord::swap`].
    #[inline]
    pub fn load(&self, form: Form) -> F {
        match form {
            Form::Double => {
                let word1 = self.word1.load(load_order());
                F::from_double(self.word0.load(load_order()), word1)
            }
            Form::Packed => F::from_packed(self.word0.load(load_order())),
        }
    }

    /// Changes `old` to `new` if the word still holds `old`. Acquire and release: it pairs with itself and with
    /// [`DoubleWord::load`], so whoever reads `new` sees what this thread wrote before, and this thread sees what the
    /// writer of `old` wrote.
    #[inline]
    pub fn swap(&self, form: Form, old: F, new: F) -> bool {
        match form {
            Form::Double => super::wide::swap(&self.word0, &self.word1, old.to_double(), new.to_double(), swap_order()),
            Form::Packed => {
                self.word0.compare_exchange(old.to_packed(), new.to_packed(), swap_order(), Ordering::Relaxed).is_ok()
            }
        }
    }
}

/// What a swap orders. Dropping a half is one of the planted bugs. On x86-64 every locked instruction is a full barrier, so
/// only the models can see those; the stress runs see the others.
#[inline(always)]
fn swap_order() -> Ordering {
    if Bug::WeakRelease.planted() {
        Ordering::Acquire
    } else if Bug::WeakAcquire.planted() {
        Ordering::Release
    } else {
        Ordering::AcqRel
    }
}

#[inline(always)]
fn load_order() -> Ordering {
    if Bug::WeakAcquire.planted() { Ordering::Relaxed } else { Ordering::Acquire }
}

#[cfg(all(test, not(any(loom, shuttle))))]
#[path = "doubleword_tests.rs"]
mod tests;
