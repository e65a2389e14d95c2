//! Pointers that a thread keeps for its next need: a small stack for each seat that is one thread's own, so that taking and
//! keeping are plain loads and stores.
//!
//! A thread that ends leaves its seat to a later one, and the stack with it: nothing has to be cleared away, and there are never
//! more stacks than seats. Threads that share a seat keep nothing.
//!
//! In the child of a fork the stacks of the other threads, which may have been at work on them, are forgotten.
#![forbid(unsafe_code)]

use super::seat::{OWN, Seat};
use crate::sync::{OwnPtr, OwnWord};
use core::ffi::c_void;
use core::ptr::NonNull;

/// What a seat keeps at most: with their number, a page.
const MOST_KEPT: usize = 511;

/// A stack; its seat's thread alone looks at it.
#[repr(align(64))]
struct Stack {
    n: OwnWord,
    pointers: [OwnPtr<c_void>; MOST_KEPT],
}

/// One stack for each seat of one thread.
pub(super) struct Kept([Stack; OWN]);

impl Kept {
    pub const fn new() -> Self {
        Self([const { Stack { n: OwnWord::new(), pointers: [const { OwnPtr::new() }; MOST_KEPT] } }; OWN])
    }

    /// The pointer kept last, if the seat is one thread's own and there is one.
    #[inline]
    pub fn take(&self, seat: Seat) -> Option<NonNull<c_void>> {
        let stack = self.0.get(seat.place())?;
        let n = stack.n.get().checked_sub(1)?;
        let pointer = stack.pointers.get(n)?.get();
        stack.n.set(n);
        NonNull::new(pointer)
    }

    /// Keeps a pointer; `false` if there is no room.
    #[inline]
    pub fn keep(&self, seat: Seat, pointer: NonNull<c_void>) -> bool {
        let Some(stack) = self.0.get(seat.place()) else { return false };
        let n = stack.n.get();
        let Some(place) = stack.pointers.get(n) else { return false };
        place.set(pointer.as_ptr());
        stack.n.set(n + 1);
        true
    }

    /// Forgets what every seat but `mine` keeps.
    #[cfg(not(loom))]
    pub fn forget_others(&self, mine: Option<Seat>) {
        for (at, stack) in self.0.iter().enumerate() {
            if mine.is_none_or(|seat| seat.index() != at) {
                stack.n.set(0);
            }
        }
    }
}

/// The process's.
#[cfg(not(loom))]
pub(super) static KEPT: Kept = Kept::new();

#[cfg(all(test, loom))]
#[path = "kept_models.rs"]
mod models;
#[cfg(all(test, not(any(loom, shuttle))))]
#[path = "kept_tests.rs"]
mod tests;
