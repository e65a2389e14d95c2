//! Prefilled sheaves under the oracle's eyes: what was set aside can be taken, whatever is made to fail meanwhile.
#![forbid(unsafe_code)]

use super::held::Held;
use super::worker::Worker;
use crate::oracle::{Aside, Kind, Watched};

impl Worker<'_> {
    /// Sets `n` objects aside.
    pub fn prefill<'w>(&mut self, watched: &'w Watched, n: usize) -> Option<Box<dyn Aside + 'w>> {
        self.pace.count(1);
        let Some(aside) = watched.subject.prefill(n) else {
            self.refused_by(watched, || format!("{n} objects set aside"));
            return None;
        };
        self.promised(watched, n, &*aside);
        Some(aside)
    }

    /// Sees to it that `n` objects are set aside; where that fails, what was set aside must still be there.
    pub fn refill(&mut self, watched: &Watched, aside: &mut (dyn Aside + '_), n: usize) {
        self.pace.count(1);
        let before = aside.len();
        if aside.refill(n) {
            self.promised(watched, n, aside);
            return;
        }
        self.refused_by(watched, || format!("{n} objects set aside again"));
        if aside.len() != before {
            let seen = format!("{} after a refill that failed", aside.len());
            self.report(Kind::Refused, watched, 0, format!("{before} objects set aside to stay"), seen);
        }
    }

    /// Takes an object that was set aside: a violation if there is none although there must be, faults or not.
    pub fn take_aside(&mut self, watched: &Watched, aside: &mut (dyn Aside + '_)) -> Option<Held> {
        let (zero, before) = (self.rng.one_in(Self::SAMPLE), aside.len());
        let taken = aside.alloc(zero);
        if taken.is_some() != (before > 0) || aside.len() != before.saturating_sub(1) {
            let seen = format!("{}, and {} left", if taken.is_some() { "one" } else { "none" }, aside.len());
            self.report(Kind::Refused, watched, 0, format!("an object of {before} set aside"), seen);
        }
        self.pace.count(1);
        let object = taken?;
        watched.born(self.index, 1);
        self.take(watched, object, zero)
    }

    fn promised(&self, watched: &Watched, n: usize, aside: &(dyn Aside + '_)) {
        if aside.len() < n {
            self.report(Kind::Refused, watched, 0, format!("{n} objects set aside"), aside.len().to_string());
        }
    }
}
