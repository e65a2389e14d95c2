//! Grace periods: who may go on, and when.
//!
//! Any thread may take any step of a grace period, no lock is held, and a thread that vanishes between two steps leaves
//! nothing behind that others would wait for.
//!
//! 1. Even to odd: the period begins. It serves who took a cookie before ([`Grace::cookie`]).
//! 2. A fence in every thread that has been a reader ([`Sides::heavy`]), by whoever wants the period to end.
//! 3. Every record is looked at: a section that began before the period keeps it open.
//! 4. Odd to even: the period is over.
//!
//! Sources: the sequence and its cookies are Linux's `rcu_seq_snap`; one word for nesting and time of entry, and membarrier,
//! are liburcu's (Desnoyers and others, "User-Level Implementations of Read-Copy Update", 2012).
#![forbid(unsafe_code)]

use super::record::{Record, Stamp};
use crate::sync::{Bug, CrowdWord, GraceSeq, Sides};

/// What a grace period consists of, but for the records.
pub(crate) struct Grace {
    pub seq: GraceSeq,
    pub sides: Sides,
    /// Readers without a record: those of even and of odd periods. A period waits for one of the two, so that readers who
    /// come and go without end cannot keep it open.
    crowds: [CrowdWord; 2],
}

/// Where the readers' side of a fence comes from.
pub(crate) trait Platform {
    /// Whether the system does the readers' fences for them. The first answer of all stays.
    fn register() -> bool;
    /// A fence in every running thread.
    fn fence_everybody();
}

/// The number of the period that will begin next after `seq`: the first one that a section entered at `seq` holds up.
fn period(seq: u64) -> u64 {
    seq.div_ceil(2)
}

impl Grace {
    /// No period, no reader.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self { seq: GraceSeq::new(), sides: Sides::new(), crowds: [CrowdWord::new(), CrowdWord::new()] }
    }

    #[cfg(loom)]
    pub fn new() -> Self {
        Self { seq: GraceSeq::new(), sides: Sides::new(), crowds: [CrowdWord::new(), CrowdWord::new()] }
    }

    /// The value that the sequence has once a whole grace period has passed from now on: a period that is in progress does
    /// not count, since it may have looked at a reader already.
    pub fn cookie(&self) -> u64 {
        let seq = self.seq.snapshot();
        if Bug::RcuEarlyEnd.planted() { (seq + 1) & !1 } else { (seq + 3) & !1 }
    }

    /// Whether the period of a cookie is over: every section that had begun when the cookie was taken has ended, and what it
    /// did comes before what the caller does now.
    pub fn is_over(&self, cookie: u64) -> bool {
        self.seq.read() >= cookie
    }

    /// The youngest cookie that may have been given out.
    pub fn youngest_cookie(&self) -> u64 {
        (self.seq.read() + 3) & !1
    }

    /// Goes as far towards the end of the cookie's period as it can without waiting; true if the period is over. `mine` is the
    /// calling thread's record.
    pub fn advance<'a, P: Platform, I: Iterator<Item = &'a Record>>(
        &self,
        cookie: u64,
        records: impl Fn() -> I,
        mine: Option<&Record>,
    ) -> bool {
        let is_mine = |record: &Record| mine.is_some_and(|mine| core::ptr::eq(mine, record));
        loop {
            let seq = self.seq.read();
            if seq >= cookie {
                return true;
            }
            if seq.is_multiple_of(2) {
                self.seq.step(seq);
                continue;
            }
            // A look for free first: a reader that is there already spares everybody the fence.
            if self.is_held_up(seq, records()) {
                return false;
            }
            let others = || records().any(|record| record.is_claimed() && !is_mine(record));
            self.sides.heavy(others, P::register, P::fence_everybody);
            if self.is_held_up(seq, records()) {
                return false;
            }
            self.seq.step(seq);
        }
    }

    fn is_held_up<'a>(&self, seq: u64, mut records: impl Iterator<Item = &'a Record>) -> bool {
        if Bug::RcuNoScan.planted() {
            return false;
        }
        self.crowd_of(seq) != 0 || records.any(|record| record.is_older(Stamp::of(seq)))
    }

    /// Readers without a record that hold up the period which began with `seq`.
    pub fn crowd_of(&self, seq: u64) -> u64 {
        self.crowds[(seq / 2 % 2) as usize].seen()
    }

    /// Enters a section without a record; gives what [`Grace::leave_crowd`] takes.
    ///
    /// The reader counts itself for the period that will follow, then looks again: had that period begun meanwhile, it may
    /// have missed the reader.
    pub fn enter_crowd(&self) -> u8 {
        loop {
            let period = period(self.seq.read());
            let crowd = &self.crowds[(period % 2) as usize];
            crowd.enter();
            CrowdWord::full();
            if self::period(self.seq.read()) == period || Bug::RcuCrowdOnce.planted() {
                return (period % 2) as u8;
            }
            crowd.leave();
        }
    }

    /// Leaves it.
    pub fn leave_crowd(&self, crowd: u8) {
        self.crowds[usize::from(crowd)].leave();
    }

    /// In a forked child: nobody is inside but, at most, the caller.
    #[cfg(not(loom))]
    pub fn reset_crowds(&self, mine: Option<u8>) {
        for (n, crowd) in self.crowds.iter().enumerate() {
            crowd.reset(u64::from(mine.is_some_and(|mine| usize::from(mine) == n)));
        }
    }
}

#[cfg(all(test, loom))]
#[path = "grace_models.rs"]
mod models;
