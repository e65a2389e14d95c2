//! When a thread of a run stops, and how its operations become known.
#![forbid(unsafe_code)]

use super::injector::Injector;
use crossbeam_utils::atomic::AtomicCell;
use std::time::Instant;

/// When a thread stops, and how its operations become known.
pub(super) struct Pace<'a> {
    deadline: Instant,
    over: bool,
    done: u64,
    most: u64,
    since_look: u64,
    public: &'a AtomicCell<u64>,
    published: u64,
    stopped: &'a AtomicCell<bool>,
    injector: Option<&'a Injector>,
}

impl<'a> Pace<'a> {
    /// Steps and operations between two looks at the clock.
    const LOOK: u64 = 128;

    /// For a thread that stops at `deadline`, after `most` operations, or when `stopped`; it counts in `public` and keeps `injector` going.
    pub fn new(
        deadline: Instant,
        most: Option<u64>,
        public: &'a AtomicCell<u64>,
        stopped: &'a AtomicCell<bool>,
        injector: Option<&'a Injector>,
    ) -> Self {
        let most = most.unwrap_or(u64::MAX);
        Self { deadline, over: false, done: 0, most, since_look: 0, public, published: 0, stopped, injector }
    }

    /// Whether the thread shall do another step.
    #[inline]
    pub fn go_on(&mut self) -> bool {
        self.since_look += 1;
        if self.since_look >= Self::LOOK {
            if let Some(injector) = self.injector {
                injector.steps(self.since_look);
            }
            self.since_look = 0;
            self.publish();
            self.over |= self.stopped.load() || Instant::now() >= self.deadline;
        }
        !self.over && self.done < self.most
    }

    /// Counts `n` operations.
    #[inline]
    pub fn count(&mut self, n: u64) {
        self.done += n;
        self.since_look += n;
    }

    /// Makes the operations so far known to others.
    pub fn publish(&mut self) {
        self.public.fetch_add(self.done - self.published);
        self.published = self.done;
    }
}
