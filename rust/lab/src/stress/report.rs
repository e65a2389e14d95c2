//! What a run found.
#![forbid(unsafe_code)]

use crate::oracle::Counters;
use crate::oracle::subject::Counter;
use serde_json::{Map, Value, json};

/// The outcome of one scenario.
#[derive(Clone, Debug)]
pub struct Report {
    /// The scenario's name.
    pub scenario: &'static str,
    /// From the first thread's beginning to the end of all.
    pub seconds: f64,
    /// Allocations and frees.
    pub ops: u64,
    /// Violations, all of them.
    pub violations: u64,
    /// The first violations in words.
    pub examples: Vec<String>,
    /// The counters of the scenario's caches, before the last shrink.
    pub counters: Counters,
    /// The counters that had to be above zero and were not.
    pub missing: Vec<&'static str>,
    /// Requests that injected faults made fail.
    pub faults: u64,
    /// Allocations and creations that failed for it; a request may fail and its caller still find memory.
    pub refused: u64,
}

impl Report {
    /// Whether nothing was wrong and every needed path was reached.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.violations == 0 && self.missing.is_empty()
    }

    /// The scenario's value in the JSON of a campaign.
    #[must_use]
    pub fn json(&self) -> Value {
        let counters: Map<String, Value> = Counter::ALL
            .iter()
            .map(|counter| (counter.name().to_owned(), json!(self.counters.get(*counter))))
            .collect();
        json!({
            "ops": self.ops,
            "seconds": self.seconds,
            "violations": self.violations,
            "examples": self.examples,
            "counters": counters,
            "missing_counters": self.missing,
            "faults": self.faults,
            "refused": self.refused,
        })
    }
}
