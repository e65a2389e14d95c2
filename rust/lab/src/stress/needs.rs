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
    /// With at least two threads.
    pub among: &'static [Counter],
    /// On `rseq` and `locked` with at least two threads, and only in long campaigns: races that chance has to bring about.
    pub races: &'static [Counter],
    /// Counted by looking now and then, so a run must last for them to move: see [`Needs::LOOKS`] and [`Needs::OFTEN`].
    pub sampled: &'static [Counter],
}

impl Needs {
    /// The same counters on every backend, and these races.
    #[must_use]
    pub const fn everywhere(counters: &'static [Counter], races: &'static [Counter]) -> Self {
        Self { rseq: counters, locked: counters, virtual_cpus: counters, among: &[], races, sampled: &[] }
    }

    /// The same, with counters that threads move together.
    #[must_use]
    pub const fn among_threads(self, among: &'static [Counter]) -> Self {
        Self { among, ..self }
    }

    /// In a run of this many seconds each sampled counter must be above zero.
    pub const LOOKS: f64 = 2.0;
    /// In a long campaign each must be above this.
    pub const OFTEN: u64 = 1000;

    /// The same, with counters that are sampled.
    #[must_use]
    pub const fn sampling(self, sampled: &'static [Counter]) -> Self {
        Self { sampled, ..self }
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

    /// The needed counters that are zero, or for sampled ones too low, after a run of so many threads and seconds.
    #[must_use]
    pub fn missing(
        &self,
        backend: &str,
        threads: u32,
        long_campaign: bool,
        seconds: f64,
        counters: &Counters,
    ) -> Vec<Counter> {
        let races = if long_campaign && matches!(backend, "rseq" | "locked") { self.races } else { &[] };
        let among = if threads > 1 && !self.on(backend).is_empty() { self.among } else { &[] };
        let needed = self.on(backend).iter().chain(among).chain(races);
        let mut missing: Vec<_> = needed.copied().filter(|counter| counters.get(*counter) == 0).collect();
        if seconds >= Self::LOOKS && !self.on(backend).is_empty() {
            let least = if long_campaign { Self::OFTEN } else { 0 };
            missing.extend(self.sampled.iter().copied().filter(|counter| counters.get(*counter) <= least));
        }
        missing
    }
}
