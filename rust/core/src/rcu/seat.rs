//! A thread's seat at every turnstile: one of its own while there are any, else a shared one.
#![forbid(unsafe_code)]

use super::turnstile::{OWN, SEATS};

/// Which words of a turnstile a thread writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seat(u8);

impl Seat {
    pub const fn new(index: usize) -> Self {
        Self(index as u8)
    }

    /// Always below the number of seats.
    #[inline(always)]
    pub fn index(self) -> usize {
        usize::from(self.0) % SEATS
    }

    /// Whether no other thread has it.
    #[inline(always)]
    pub fn is_own(self) -> bool {
        usize::from(self.0) < OWN
    }
}

#[cfg(not(loom))]
mod of_thread {
    use super::{OWN, SEATS, Seat};
    use crate::sync::Published;
    use std::cell::Cell;

    /// One bit per seat of its own that a thread has.
    static TAKEN: Published = Published::new(0);
    /// Threads that found none.
    static SHARING: Published = Published::new(0);

    const NONE: u8 = u8::MAX;

    /// Gives the seat back when the thread ends.
    struct Owned(Cell<Option<Seat>>);

    impl Drop for Owned {
        fn drop(&mut self) {
            if let Some(seat) = self.0.take() {
                // Destructors that still run on this thread share a seat.
                MINE.set(OWN as u8);
                TAKEN.take((1u64 << seat.index()).wrapping_neg());
            }
        }
    }

    thread_local! {
        static MINE: Cell<u8> = const { Cell::new(NONE) };
        static OWNED: Owned = const { Owned(Cell::new(None)) };
    }

    impl Seat {
        /// The calling thread's.
        #[inline]
        pub fn mine() -> Self {
            match MINE.get() {
                NONE => Self::sit_down(),
                index => Self(index),
            }
        }

        #[cold]
        fn sit_down() -> Self {
            let mut taken = TAKEN.read();
            let own = loop {
                let free = (!taken).trailing_zeros() as usize;
                if free >= OWN {
                    break None;
                }
                match TAKEN.publish_if(taken, taken | 1 << free) {
                    Ok(_) => break Some(Self::new(free)),
                    Err(now) => taken = now,
                }
            };
            let kept = own.filter(|&seat| OWNED.try_with(|owned| owned.0.set(Some(seat))).is_ok());
            if let (Some(seat), None) = (own, kept) {
                TAKEN.take((1u64 << seat.index()).wrapping_neg());
            }
            let seat = kept.unwrap_or_else(|| Self::new(OWN + SHARING.take(1) as usize % (SEATS - OWN)));
            MINE.set(seat.0);
            seat
        }
    }

    /// In the child of a fork one thread is left.
    pub(in crate::rcu) fn in_child() {
        let mine = MINE.get();
        TAKEN.publish(if usize::from(mine) < OWN { 1 << mine } else { 0 });
    }
}

#[cfg(not(loom))]
pub(super) use of_thread::in_child;
