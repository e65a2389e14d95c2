//! The report of a replay, as it stands in its JSON.

#![forbid(unsafe_code)]

use super::design::{Design, Made, Served};
use super::outcome::Outcome;
use super::plan::Plan;
use super::shape::Shape;
use crate::trace::Tally;
use serde::Serialize;
use std::collections::BTreeMap;

/// What a replay found. Two replays of the same files on virtual CPUs give equal reports.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The files, in the order of reading.
    pub files: Vec<String>,
    /// `sheaves` or `system`.
    pub design: &'static str,
    /// `rseq`, `locked` or `virtual`; `None` for `system` on threads.
    pub backend: Option<String>,
    /// Recorded CPUs.
    pub recorded_cpus: Vec<u16>,
    /// CPUs that had steps, after `--cpus`.
    pub cpus: Vec<u16>,
    /// Nodes.
    pub nodes: u32,
    /// Threads that ran.
    pub threads: u32,
    /// Threads that were pinned.
    pub pinned: u32,
    /// Counts of lines.
    #[serde(flatten)]
    pub lines: Tally,
    /// Allocations that gave NULL when they were recorded.
    pub failed_allocs: u64,
    /// Frees of NULL.
    pub null_frees: u64,
    /// Frees of pointers that no allocation of the trace gave.
    pub unmatched_frees: u64,
    /// Frees that the trace only implies.
    pub implied_frees: u64,
    /// Sums over all caches.
    #[serde(flatten)]
    pub totals: Counts,
    /// Things that an allocator must never do.
    pub violations: u64,
    /// The first of them as text.
    pub violation_texts: Vec<String>,
    /// By name.
    pub caches: BTreeMap<String, CacheReport>,
    /// Seconds spent; `None` on virtual CPUs, so that equal runs have equal reports.
    pub seconds: Option<Seconds>,
}

impl Report {
    /// The report as JSON text.
    ///
    /// # Panics
    /// Never: every key is a text and every number finite.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("text keys and finite numbers")
    }
}

/// Seconds by phase.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Seconds {
    /// Reading and parsing the files.
    pub read: f64,
    /// The replay, from its first step to its last.
    pub replay: f64,
}

/// Counts of one cache, or sums.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Counts {
    /// Allocations.
    pub allocs: u64,
    /// Frees, the implied ones too.
    pub frees: u64,
    /// Objects that nothing freed: `allocs - frees`.
    pub live_at_end: u64,
    /// Allocations by the deepest level that they touched; `None` for a design without levels.
    pub served_sheaf: Option<u64>,
    /// A full sheaf of the barn.
    pub served_barn: Option<u64>,
    /// Partial slabs.
    pub served_partial: Option<u64>,
    /// A new slab.
    pub served_new_slab: Option<u64>,
    /// A page run.
    pub served_page_run: Option<u64>,
}

/// One cache.
#[derive(Clone, Debug, Serialize)]
pub struct CacheReport {
    /// Its counts.
    #[serde(flatten)]
    pub counts: Counts,
    /// Most objects live at once, in the recorded order.
    pub peak_objects: u64,
    /// Most slabs (page runs) held at once.
    pub peak_slabs: Option<u64>,
    /// Bytes of their pages.
    pub peak_bytes: Option<u64>,
    /// Those less the bytes asked for by the objects that were live at that moment.
    pub waste_bytes: Option<u64>,
    /// Largest size asked for in the trace, in bytes.
    pub bytes_req: u32,
    /// Largest size given in the trace, in bytes.
    pub bytes_alloc: u32,
    /// How the cache came out; `None` for page runs and for designs without caches.
    pub made: Option<Made>,
    /// Counters of the cache at the end of the trace, before its live objects were freed.
    pub counters: BTreeMap<&'static str, u64>,
    /// What is not as recorded.
    pub notes: Vec<String>,
}

/// The caches of a run that has ended, with its live objects still live.
#[must_use]
pub(super) fn caches(
    plan: &Plan,
    shapes: &[Shape],
    design: &dyn Design,
    outcome: &Outcome,
) -> BTreeMap<String, CacheReport> {
    let mut reports = BTreeMap::new();
    for (index, planned) in plan.caches.iter().enumerate() {
        let (tally, peak) = (&outcome.caches[index], &outcome.peaks[index]);
        let cache = u32::try_from(index).expect("a cache's number fits");
        let usage = design.usage(cache);
        let level = |level: Served| usage.map(|_| tally.served[level as usize]);
        let counts = Counts {
            allocs: tally.allocs,
            frees: tally.frees,
            live_at_end: tally.allocs - tally.frees,
            served_sheaf: level(Served::Sheaf),
            served_barn: level(Served::Barn),
            served_partial: level(Served::Partial),
            served_new_slab: level(Served::NewSlab),
            served_page_run: level(Served::PageRun),
        };
        let notes = shapes.get(index).map_or_else(Vec::new, |shape| shape.notes.clone());
        let report = CacheReport {
            counts,
            peak_objects: planned.peak_objects,
            peak_slabs: usage.map(|_| peak.usage.slabs),
            peak_bytes: usage.map(|_| peak.usage.bytes),
            waste_bytes: usage.map(|_| peak.waste()),
            bytes_req: planned.bytes_req,
            bytes_alloc: planned.bytes_alloc,
            made: design.made(cache),
            counters: design.counters(cache).into_iter().collect(),
            notes,
        };
        reports.insert(planned.name.clone(), report);
    }
    reports
}

/// Sums over all caches. `levels`: whether the design has levels, for a trace without a cache too.
#[must_use]
pub(super) fn totals(caches: &BTreeMap<String, CacheReport>, levels: bool) -> Counts {
    let sum = |count: fn(&Counts) -> u64| caches.values().map(|cache| count(&cache.counts)).sum();
    let level = |count: fn(&Counts) -> Option<u64>| {
        levels.then(|| caches.values().filter_map(|cache| count(&cache.counts)).sum())
    };
    Counts {
        allocs: sum(|counts| counts.allocs),
        frees: sum(|counts| counts.frees),
        live_at_end: sum(|counts| counts.live_at_end),
        served_sheaf: level(|counts| counts.served_sheaf),
        served_barn: level(|counts| counts.served_barn),
        served_partial: level(|counts| counts.served_partial),
        served_new_slab: level(|counts| counts.served_new_slab),
        served_page_run: level(|counts| counts.served_page_run),
    }
}
