//! A thread's seat at every turnstile: one of its own while there are any, else a shared one.
#![forbid(unsafe_code)]

/// Seats of one thread each, and all seats.
pub(super) const OWN: usize = if cfg!(loom) { 1 } else { 24 };
pub(super) const SEATS: usize = if cfg!(loom) { 2 } else { 32 };

/// Beside the index: the thread passes nowhere.
const WATCHED: u8 = 1 << 7;
const _: () = assert!(SEATS <= WATCHED as usize && (WATCHED as usize).is_multiple_of(SEATS));

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

    /// Whether the thread that sits here is to pass nowhere: a shared seat all the same, so that it costs nobody a test.
    pub fn is_watched(self) -> bool {
        self.0 & WATCHED != 0
    }
}

#[cfg(not(loom))]
mod of_thread {
    use super::{OWN, SEATS, Seat, WATCHED};
    use crate::sync::Published;
    use core::marker::PhantomData;
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

    /// Until it is dropped, the thread passes no turnstile; visits are as ever.
    #[derive(Debug)]
    #[must_use]
    pub struct Watched {
        before: u8,
        _of_thread: PhantomData<*const ()>,
    }

    /// Watches the calling thread. For the time of a callback that must not use short ways. May be done again inside.
    pub fn watch_thread() -> Watched {
        Watched { before: MINE.replace(WATCHED | OWN as u8), _of_thread: PhantomData }
    }

    impl Drop for Watched {
        fn drop(&mut self) {
            MINE.set(self.before);
        }
    }

    /// In the child of a fork one thread is left.
    pub(in crate::rcu) fn in_child() {
        let mine = OWNED.try_with(|owned| owned.0.get()).ok().flatten();
        TAKEN.publish(mine.map_or(0, |seat| 1 << seat.index()));
    }
}

#[cfg(not(loom))]
pub(super) use of_thread::in_child;
#[cfg(not(loom))]
pub use of_thread::{Watched, watch_thread};
