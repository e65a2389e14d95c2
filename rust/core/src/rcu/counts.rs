//! The counters of RCU, one row each.
#![forbid(unsafe_code)]

use super::{domain::GRACE, local, pending, stall, table};
use crate::service;

macro_rules! counts {
    ($($name:ident, $help:literal, $value:expr;)*) => {
        /// Counters of this process's RCU. A forked child goes on from its parent's.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $(#[doc = $help] pub $name: u64,)*
        }

        impl Stats {
            /// The counters as rows: name, value, what it counts.
            #[must_use]
            pub fn rows(&self) -> Vec<(&'static str, u64, &'static str)> {
                vec![$((stringify!($name), self.$name, $help),)*]
            }
        }

        /// The counters now; each is exact when nobody is at work.
        #[must_use]
        pub fn stats() -> Stats {
            Stats { $($name: $value,)* }
        }
    };
}

counts! {
    grace_periods, "Grace periods that ended.", GRACE.seq.read() / 2;
    stalls, "Reports of read sections that held up a grace period for longer than the limit.", stall::stalls();
    callbacks_queued, "Callbacks queued.", pending::counts().0;
    callbacks_run, "Callbacks that have been run.", pending::counts().1;
    callback_panics, "Callbacks that panicked.", pending::counts().2;
    records, "Threads that have a record of their own for read sections.",
        table::all().filter(|record| record.is_claimed()).count() as u64;
    crowded, "Read sections entered without a record, for want of memory.", local::crowded();
    service_refused, "Times that the system had no thread to give to the service.", service::refused();
}
