//! A thread's seat at every turnstile: one of its own while there are any, else a shared one.
#![forbid(unsafe_code)]

use crate::sync::BitWord;

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

    /// Its place among those of one thread; elsewhere for a shared one.
    #[inline(always)]
    pub fn place(self) -> usize {
        usize::from(self.0)
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

/// Which seats of one thread are taken: a bit each.
pub(super) struct Seats(BitWord);

impl Seats {
    /// None is.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self(BitWord::new(0))
    }

    /// None is.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self(BitWord::new(0))
    }

    /// Takes one that is free; what its last thread did with it happened before.
    pub fn claim(&self) -> Option<Seat> {
        let mut taken = self.0.peek();
        loop {
            let free = (!taken).trailing_zeros() as usize;
            if free >= OWN {
                return None;
            }
            match self.0.try_take(taken, 1 << free) {
                Ok(()) => return Some(Seat::new(free)),
                Err(now) => taken = now,
            }
        }
    }

    /// Gives one back.
    pub fn give(&self, seat: Seat) {
        self.0.give(1 << seat.index());
    }

    /// In the child of a fork one thread is left, with the seat `mine`.
    #[cfg(not(loom))]
    pub fn reset(&self, mine: Option<Seat>) {
        self.0.reset(mine.map_or(0, |seat| 1 << seat.index()));
    }
}

#[cfg(not(loom))]
mod of_thread {
    use super::{OWN, SEATS, Seat, Seats, WATCHED};
    use crate::os;
    use crate::sync::Published;
    use core::marker::PhantomData;
    use std::cell::Cell;

    static TAKEN: Seats = Seats::new();
    /// Threads that found none.
    static SHARING: Published = Published::new(0);

    /// By a thread's token: an entry says which thread has which seat of its own. A thread looks for itself here first, because
    /// the way to a thread local of a shared library is a call; who shares a place with another thread looks there.
    static DIRECTORY: [Published; PLACES] = [const { Published::new(0) }; PLACES];
    const PLACES: usize = 32;
    /// Bits of an entry below the thread's token. An entry is never 0.
    const SEAT_BITS: u32 = 6;
    const _: () = assert!(OWN <= 1 << SEAT_BITS);

    #[inline(always)]
    fn directory(token: u64) -> &'static Published {
        // Multiplied by the golden ratio the tokens of stacks side by side lie far apart.
        &DIRECTORY[(token.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 59) as usize % PLACES]
    }

    const fn entry(token: u64, seat: Seat) -> u64 {
        token << SEAT_BITS | seat.0 as u64
    }

    /// Puts a thread that has a seat of its own into the directory, if its place is free.
    fn enter(seat: Seat) {
        let token = os::thread::token() as u64;
        let _taken = directory(token).publish_if(0, entry(token, seat));
    }

    /// Takes the calling thread out of the directory, whatever its seat.
    fn leave() {
        let token = os::thread::token() as u64;
        let found = directory(token);
        if found.read() >> SEAT_BITS == token {
            found.publish(0);
        }
    }

    const NONE: u8 = u8::MAX;

    /// Gives the seat back when the thread ends.
    struct Owned(Cell<Option<Seat>>);

    impl Drop for Owned {
        fn drop(&mut self) {
            if let Some(seat) = self.0.take() {
                // Destructors that still run on this thread share a seat.
                MINE.set(OWN as u8);
                leave();
                TAKEN.give(seat);
            }
        }
    }

    thread_local! {
        static MINE: Cell<u8> = const { Cell::new(NONE) };
        static OWNED: Owned = const { Owned(Cell::new(None)) };
    }

    impl Seat {
        /// The calling thread's.
        #[inline(always)]
        pub fn mine() -> Self {
            let token = os::thread::token() as u64;
            // What is left of its own entry is the seat; of any other, bits of a token.
            let seat = directory(token).read() ^ (token << SEAT_BITS);
            if seat < OWN as u64 { Self(seat as u8) } else { Self::looked_up() }
        }

        #[inline(never)]
        fn looked_up() -> Self {
            match MINE.get() {
                NONE => Self::sit_down(),
                index => Self(index),
            }
        }

        #[cold]
        fn sit_down() -> Self {
            let own = TAKEN.claim();
            let kept = own.filter(|&seat| OWNED.try_with(|owned| owned.0.set(Some(seat))).is_ok());
            if let (Some(seat), None) = (own, kept) {
                TAKEN.give(seat);
            }
            if let Some(seat) = kept {
                enter(seat);
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
        leave();
        Watched { before: MINE.replace(WATCHED | OWN as u8), _of_thread: PhantomData }
    }

    impl Drop for Watched {
        fn drop(&mut self) {
            MINE.set(self.before);
            let before = Seat(self.before);
            if before.is_own() {
                enter(before);
            }
        }
    }

    /// In the child of a fork one thread is left, with this seat of its own.
    pub(in crate::rcu) fn in_child() -> Option<Seat> {
        let mine = OWNED.try_with(|owned| owned.0.get()).ok().flatten();
        TAKEN.reset(mine);
        let token = os::thread::token() as u64;
        for entry in DIRECTORY.iter().filter(|entry| entry.read() >> SEAT_BITS != token) {
            entry.publish(0);
        }
        mine
    }
}

#[cfg(not(loom))]
pub(super) use of_thread::in_child;
#[cfg(not(loom))]
pub use of_thread::{Watched, watch_thread};
