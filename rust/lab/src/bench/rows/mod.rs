//! The rows: one file and one row each.
#![forbid(unsafe_code)]

use super::blocks::{Kind, Target};
use super::row::Row;
pub use super::row::{Entry, Rounds};
use super::targets::{self, Visitor};
use std::time::Duration;

#[cfg(test)]
pub use fixed::instructions as fixed_instructions;

mod ctor;
mod fifo1000;
mod fixed;
mod free_rcu;
mod lifo1000;
mod mixed;
mod pair_call;
mod pair_inlined;
mod random1000;
mod remote_ring;
pub mod threads64;

/// Every row that is measured in rounds, in the order of the tables.
#[must_use]
pub fn rounds() -> Vec<Rounds> {
    let mut rows = vec![
        row::<pair_inlined::PairInlined>(),
        row::<pair_call::PairCall>(),
        row::<lifo1000::Lifo>(),
        row::<fifo1000::Fifo>(),
        row::<random1000::RandomOrder>(),
        row::<mixed::Mixed>(),
        row::<remote_ring::RemoteRing>(),
        Rounds {
            name: ctor::NAME,
            about: ctor::ABOUT,
            step: ctor::STEP,
            round: Duration::from_millis(1),
            entries: ctor::TARGETS.map(|(target, kind, work)| Entry { target, kind, work }).to_vec(),
            instructions: None,
        },
        Rounds {
            name: fixed::NAME,
            about: fixed::ABOUT,
            step: 1,
            round: Duration::from_millis(1),
            entries: fixed::TARGETS.map(|(target, kind, work)| Entry { target, kind, work }).to_vec(),
            instructions: Some(fixed::instructions),
        },
    ];
    rows.extend(free_rcu::rows());
    rows
}

/// The row that takes a process for each target, by target.
#[must_use]
pub fn processes() -> Vec<Process> {
    struct Collect(Vec<Process>);
    impl Visitor for Collect {
        fn visit<T: Target>(&mut self) {
            // The control's memory would be its ring's, which says nothing.
            if T::KIND != Kind::Control {
                self.0.push(Process { target: T::NAME, kind: T::KIND, run: threads64::run::<T> });
            }
        }
    }
    let mut collect = Collect(Vec::new());
    targets::each(&mut collect);
    collect.0
}

/// A target as the row of processes sees it.
#[derive(Clone, Copy)]
pub struct Process {
    /// The target's name.
    pub target: &'static str,
    /// Its part in the comparison.
    pub kind: Kind,
    /// Runs the row in this process; the argument is pairs per thread.
    pub run: fn(u64) -> Result<threads64::Outcome, String>,
}

fn row<R: Row>() -> Rounds {
    struct Collect<R>(Vec<Entry>, core::marker::PhantomData<R>);
    impl<R: Row> Visitor for Collect<R> {
        fn visit<T: Target>(&mut self) {
            self.0.push(Entry { target: T::NAME, kind: T::KIND, work: R::work::<T> });
        }
    }
    let mut collect = Collect::<R>(Vec::new(), core::marker::PhantomData);
    targets::each(&mut collect);
    Rounds { name: R::NAME, about: R::ABOUT, step: R::STEP, round: R::ROUND, entries: collect.0, instructions: None }
}
