//! One thread's record: what it shows of its read sections to those who wait.
//!
//! ```text
//! | the grace sequence when the outermost section began : 48 | sections inside one another : 16 |
//! ```
//!
//! One word, so that a signal handler which reads in the middle of an entry or a leave puts back what it found. It is a
//! thread's own (its handlers included) from claim to release, and the memory is never unmapped: who scans may look at any
//! record at any time.
#![forbid(unsafe_code)]

use crate::sync::{Counter, GraceSeq, ReaderWord, Sides, TryFlag};

const NESTING: u64 = 0xffff;
const SEQ_AT: u32 = 16;

/// A moment of the grace sequence, as a record holds it: 48 bits, which a program that ends a period each microsecond needs
/// four years to half go round. A section holds up the next period but one, so no two that are compared are that far apart.
#[derive(Clone, Copy)]
pub(crate) struct Stamp(u64);

impl Stamp {
    pub fn of(seq: u64) -> Self {
        Self(seq << SEQ_AT)
    }

    /// Whether the section in `word` began before this moment.
    fn is_after(self, word: u64) -> bool {
        (self.0.wrapping_sub(word & !NESTING)).cast_signed() > 0
    }
}

/// See the file's head. A line of its own: its owner writes it all the time.
#[repr(C, align(64))]
pub(crate) struct Record {
    word: ReaderWord,
    owner: TryFlag,
    /// The owner's number in /proc, for reports.
    thread: Counter,
}

impl Record {
    /// Nobody's.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self { word: ReaderWord::new(), owner: TryFlag::new(), thread: Counter::new() }
    }

    #[cfg(loom)]
    pub fn new() -> Self {
        Self { word: ReaderWord::new(), owner: TryFlag::new(), thread: Counter::new() }
    }

    /// Makes it the calling thread's, if it is nobody's.
    pub fn claim(&self, owner: u64, stale: impl Fn(u64) -> bool, thread: u64) -> bool {
        let claimed = self.owner.try_take(owner, stale);
        if claimed {
            self.thread.set(thread);
        }
        claimed
    }

    /// Gives it back; a section that is left open ends here.
    pub fn release(&self) {
        self.word.leave(0);
        self.thread.set(0);
        self.owner.release();
    }

    /// Says which thread has it: after a fork.
    #[cfg(not(loom))]
    pub fn rename(&self, owner: u64, thread: u64) {
        self.owner.release();
        self.claim(owner, |_| false, thread);
    }

    /// Enters a read section.
    ///
    /// # Panics
    /// With 65535 sections inside one another.
    #[inline(always)]
    pub fn enter(&self, seq: &GraceSeq, sides: &Sides) {
        let word = self.word.mine();
        if word & NESTING == 0 {
            self.word.enter(seq.read() << SEQ_AT | 1);
            sides.light();
        } else {
            assert!(word & NESTING != NESTING, "65535 RCU read sections inside one another");
            self.word.nest(word + 1);
        }
    }

    /// Leaves one; false if the thread is in none.
    #[inline(always)]
    pub fn leave(&self) -> bool {
        let word = self.word.mine();
        if word & NESTING == 0 {
            return false;
        }
        self.word.leave(word - 1);
        true
    }

    /// Whether the calling thread, its owner, is in a section.
    #[inline(always)]
    pub fn is_reading(&self) -> bool {
        self.word.mine() & NESTING != 0
    }

    /// Whether its thread is in a section that began before `stamp`. For other threads.
    pub fn is_older(&self, stamp: Stamp) -> bool {
        let word = self.word.seen();
        word & NESTING != 0 && stamp.is_after(word)
    }

    /// The owner's number in /proc; 0 for nobody's.
    #[cfg(not(loom))]
    pub fn thread(&self) -> u64 {
        self.thread.get()
    }

    /// Whether it is somebody's.
    pub fn is_claimed(&self) -> bool {
        self.owner.is_held_by(|mark| mark != 0)
    }
}
