//! Which counters a scenario must move, by backend: a scenario that never reached a path has not tested it, and fails.
#![forbid(unsafe_code)]

use crate::oracle::subject::{Counter, Counters};

/// One scenario's row of the table: the counters that must be above zero at its end.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// On the `rseq` backend.
    pub rseq: &'static [Counter],
    /// On the `locked` backend.
    pub locked: &'static [Counter],
    /// On the `virtual` backend.
    pub virtual_cpus: &'static [Counter],
    /// On `rseq` and `locked` with at least two threads, and only in long campaigns: races that chance has to bring about.
    pub races: &'static [Counter],
}

impl Needs {
    /// The same counters on every backend, and these races.
    #[must_use]
    pub const fn everywhere(counters: &'static [Counter], races: &'static [Counter]) -> Self {
        Self { rseq: counters, locked: counters, virtual_cpus: counters, races }
    }

    /// The counters that must be above zero on `backend`; none of a backend that the table does not know (a broken allocator of a test).
    #[must_use]
    pub fn on(&self, backend: &str) -> &'static [Counter] {
        match backend {
            "rseq" => self.rseq,
            "locked" => self.locked,
            "virtual" => self.virtual_cpus,
            _ => &[],
        }
    }

    /// The needed counters that are zero.
    #[must_use]
    pub fn missing(&self, backend: &str, long_campaign: bool, counters: &Counters) -> Vec<Counter> {
        let races = if long_campaign && matches!(backend, "rseq" | "locked") { self.races } else { &[] };
        let needed = self.on(backend).iter().chain(races);
        needed.copied().filter(|counter| counters.get(*counter) == 0).collect()
    }
}
