#![forbid(unsafe_code)]
//! One fault at work.

use super::attr::FaultAttr;
use crate::os;
use crate::sync::{Counter, Published};
use std::cell::Cell;
use std::sync::OnceLock;

/// What a fault is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Requests for memory: see [`super::Point`].
    Memory,
    /// Objects of every cache.
    Objects,
    /// Objects of the cache whose slots are at this address.
    ObjectsOf(usize),
}

const MEMORY: u64 = 1;
const OBJECTS: u64 = 2;
/// A fault whose cache has been destroyed: it is asked about nothing any more.
const NOTHING: u64 = 3;

impl Target {
    fn word(self) -> u64 {
        match self {
            Self::Memory => MEMORY,
            Self::Objects => OBJECTS,
            Self::ObjectsOf(slots) => slots as u64,
        }
    }
}

/// Times of a fault without an end.
const NO_END: u64 = u64::MAX;

/// Nobody's.
const IDLE: u64 = 0;
/// Being started or ended by one thread.
const TAKEN: u64 = 1;
/// A fault that is on.
const ON: u64 = 2;

/// The parameters and counts of a fault. Entries are used again but never freed, so that whoever asks may look at one at any
/// time; `readers` tells when nobody looks. A fork in the middle of a start or a look costs the child one entry.
#[derive(Debug)]
pub(super) struct Entry {
    /// The entry behind this one.
    pub next: OnceLock<Box<Self>>,
    state: Published,
    /// Threads that look at it.
    readers: Published,
    target: Published,
    /// Requests fail whose draw is below this, of 2^64; `always` stands for 2^64 itself.
    threshold: Counter,
    always: Counter,
    /// Of the process that started it: in a forked child, readers of the parent may never leave.
    generation: Counter,
    interval: Counter,
    thread: Counter,
    seed: Counter,
    space: Published,
    seen: Published,
    draws: Published,
    times: Published,
    fired: Published,
}

/// A thread's look at an entry, which stays the same fault meanwhile.
struct Look<'e>(&'e Entry);

impl Drop for Look<'_> {
    fn drop(&mut self) {
        self.0.readers.take(1u64.wrapping_neg());
    }
}

impl Entry {
    pub fn new() -> Self {
        let word = || Published::new(0);
        Self {
            next: OnceLock::new(),
            state: word(),
            readers: word(),
            target: word(),
            threshold: Counter::new(),
            always: Counter::new(),
            generation: Counter::new(),
            interval: Counter::new(),
            thread: Counter::new(),
            seed: Counter::new(),
            space: word(),
            seen: word(),
            draws: word(),
            times: word(),
            fired: word(),
        }
    }

    /// Takes an idle entry for a new fault.
    pub fn claim(&self) -> bool {
        if self.state.publish_if(IDLE, TAKEN).is_err() {
            return false;
        }
        let claimed = self.is_unwatched();
        if !claimed {
            self.state.publish(IDLE);
        }
        claimed
    }

    /// Nobody who came before looks at the entry, and whoever comes after sees what was written before: both sides change the
    /// same word.
    fn is_unwatched(&self) -> bool {
        self.readers.take(0) == 0
    }

    /// Makes the claimed entry a fault. `seed` is its own number, so that faults draw different numbers, and the same in each run.
    pub fn start(&self, target: Target, attr: &FaultAttr, seed: u64) {
        self.target.publish(target.word());
        // 2^64 is out of reach of a word, hence `always`; smaller products are exact enough for a chance.
        self.threshold.set((attr.probability * 2f64.powi(64)) as u64);
        self.always.set(u64::from(attr.probability >= 1.0));
        self.interval.set(attr.interval);
        self.thread.set(if attr.this_thread { this_thread() } else { 0 });
        self.seed.set(seed);
        self.space.publish(attr.space);
        for word in [&self.seen, &self.draws, &self.fired] {
            word.publish(0);
        }
        self.times.publish(attr.times.unwrap_or(NO_END));
        self.generation.set(os::fork::generation());
        self.state.publish(ON);
    }

    /// Ends the fault: no request fails by it any more. Waits for the threads that look at it, which takes them some
    /// instructions, so that what they count is in the sum that this returns.
    pub fn end(&self) -> u64 {
        self.state.publish(TAKEN);
        while !self.is_unwatched() && !os::fork::is_stale(self.generation.get()) {
            os::yield_now();
        }
        let fired = self.fired.read();
        self.state.publish(IDLE);
        fired
    }

    /// Requests that the fault has made fail.
    pub fn fired(&self) -> u64 {
        self.fired.read()
    }

    /// The fault, if it is on: its target, its parameters with what is left of them, and how often it has fired.
    pub fn on(&self) -> Option<(Target, FaultAttr, u64)> {
        let _look = self.look()?;
        let target = match self.target.read() {
            MEMORY => Target::Memory,
            OBJECTS => Target::Objects,
            NOTHING => return None,
            slots => Target::ObjectsOf(slots as usize),
        };
        let probability = if self.always.get() == 1 { 1.0 } else { self.threshold.get() as f64 / 2f64.powi(64) };
        let times = Some(self.times.read()).filter(|&times| times != NO_END);
        let (interval, this_thread) = (self.interval.get(), self.thread.get() != 0);
        Some((target, FaultAttr { probability, interval, space: self.space.read(), times, this_thread }, self.fired()))
    }

    /// The cache at `slots` has gone; another one may come to lie there.
    pub fn forget(&self, slots: usize) {
        // Refused when the fault is about something else.
        let _ = self.target.publish_if(slots as u64, NOTHING);
    }

    fn look(&self) -> Option<Look<'_>> {
        if self.state.read() != ON {
            return None;
        }
        self.readers.take(1);
        let look = Look(self);
        // Only now it cannot become another fault.
        (self.state.read() == ON).then_some(look)
    }

    /// Whether the fault is on and is about memory (`None`) or about objects of the cache at `slots`.
    pub fn concerns(&self, slots: Option<usize>) -> bool {
        self.look().is_some_and(|_look| self.is_about(slots))
    }

    fn is_about(&self, slots: Option<usize>) -> bool {
        match slots {
            None => self.target.read() == MEMORY,
            Some(slots) => [OBJECTS, slots as u64].contains(&self.target.read()),
        }
    }

    /// Counts a request; true if it shall fail. Source: `should_fail_ex` (lib/fault-inject.c), with exact counts where Linux's
    /// are approximate.
    pub fn fails(&self, slots: Option<usize>, bytes: usize) -> bool {
        let Some(_look) = self.look() else { return false };
        if !self.is_about(slots) || self.threshold.get() == 0 || self.times.read() == 0 {
            return false;
        }
        if self.thread.get() != 0 && self.thread.get() != this_thread() {
            return false;
        }
        if self.fits_into_space(bytes as u64) {
            return false;
        }
        let interval = self.interval.get();
        if interval > 1 && !(self.seen.take(1) + 1).is_multiple_of(interval) {
            return false;
        }
        if self.always.get() == 0 && scrambled(self.seed.get(), self.draws.take(1)) >= self.threshold.get() {
            return false;
        }
        let fails = self.take_one_of_times();
        if fails {
            self.fired.take(1);
        }
        fails
    }

    fn fits_into_space(&self, bytes: u64) -> bool {
        let mut left = self.space.read();
        while left > bytes {
            match self.space.publish_if(left, left - bytes) {
                Ok(()) => return true,
                Err(now) => left = now,
            }
        }
        false
    }

    fn take_one_of_times(&self) -> bool {
        let mut left = self.times.read();
        while left != 0 && left != NO_END {
            match self.times.publish_if(left, left - 1) {
                Ok(()) => return true,
                Err(now) => left = now,
            }
        }
        left == NO_END
    }
}

/// The `n`-th number of a sequence of its own for each seed (splitmix64).
fn scrambled(seed: u64, n: u64) -> u64 {
    let step = 0x9e37_79b9_7f4a_7c15_u64;
    let mut z = seed.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(step.wrapping_mul(n.wrapping_add(1)));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number that no other thread has had, never 0. The forking thread keeps its in the child. A thread whose locals are gone
/// is ending and shares the last number.
fn this_thread() -> u64 {
    static LAST: Published = Published::new(0);
    std::thread_local! {
        static MINE: Cell<u64> = const { Cell::new(0) };
    }
    let number = |mine: &Cell<u64>| {
        if mine.get() == 0 {
            mine.set(LAST.take(1) + 1);
        }
        mine.get()
    };
    MINE.try_with(number).unwrap_or(u64::MAX)
}
