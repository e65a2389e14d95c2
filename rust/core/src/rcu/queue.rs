//! The queue of callbacks: who waits for which grace period, and who is being run.
#![forbid(unsafe_code)]

use super::grace::Grace;
use crate::sync::Bug;
use std::collections::VecDeque;

pub(super) type Callback = Box<dyn FnOnce() + Send>;

/// Kept under a lock by its owner.
pub(super) struct Queue {
    /// Oldest first, so their cookies never fall.
    waiting: VecDeque<(u64, Callback)>,
    /// The number of the first in `waiting`; numbers are given in order.
    first: u64,
    /// Who runs which number just now.
    running: Vec<(u64, usize)>,
    /// Callbacks that panicked.
    panicked: u64,
}

/// What stands at the head of the queue.
pub(super) enum Head {
    /// Nothing.
    Empty,
    /// A callback that waits for this cookie's period.
    Waits(u64),
    /// A callback to be run now, and its number for [`Queue::ran`].
    Ready(u64, Callback),
}

impl Queue {
    /// An empty one.
    pub const fn new() -> Self {
        Self { waiting: VecDeque::new(), first: 0, running: Vec::new(), panicked: 0 }
    }

    /// Adds a callback for a grace period from now on.
    pub fn push(&mut self, grace: &Grace, callback: Callback) {
        self.waiting.push_back((grace.cookie(), callback));
    }

    /// The number after the youngest callback's.
    pub fn end(&self) -> u64 {
        self.first + self.waiting.len() as u64
    }

    /// The oldest callback before `end`, if its grace period is over; `thread` is going to run it.
    pub fn pop(&mut self, grace: &Grace, end: u64, thread: usize) -> Head {
        if self.first >= end {
            return Head::Empty;
        }
        match self.waiting.front() {
            None => return Head::Empty,
            Some(&(cookie, _)) if !grace.is_over(cookie) => return Head::Waits(cookie),
            Some(_) => {}
        }
        // Room first: nothing may fail once the callback is out.
        self.running.reserve(1);
        let Some((_, callback)) = self.waiting.pop_front() else { return Head::Empty };
        let number = self.first;
        self.running.push((number, thread));
        self.first += 1;
        Head::Ready(number, callback)
    }

    /// A callback that [`Queue::pop`] gave has been run.
    pub fn ran(&mut self, number: u64, panicked: bool) {
        self.running.retain(|&(running, _)| running != number);
        self.panicked += u64::from(panicked);
    }

    /// Whether every callback before `end` has been run.
    pub fn have_run(&self, end: u64) -> bool {
        let none_running = self.running.iter().all(|&(number, _)| number >= end);
        self.first >= end && (none_running || Bug::RcuHastyBarrier.planted())
    }

    /// Whether `thread` is inside a callback.
    #[cfg(not(loom))]
    pub fn is_inside(&self, thread: usize) -> bool {
        self.running.iter().any(|&(_, runner)| runner == thread)
    }

    /// Whether a callback waits for its grace period.
    #[cfg(not(loom))]
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// In a forked child: what a vanished thread was running is the parent's; a callback that forked goes on here.
    #[cfg(not(loom))]
    pub fn keep_running(&mut self, thread: usize) {
        self.running.retain(|&(_, runner)| runner == thread);
    }

    /// Callbacks queued so far, those that are over, and those of them that panicked.
    #[cfg(not(loom))]
    pub fn counts(&self) -> (u64, u64, u64) {
        (self.end(), self.first - self.running.len() as u64, self.panicked)
    }
}
