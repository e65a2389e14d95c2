//! The whole of a replay: read, plan, run, report.

#![forbid(unsafe_code)]

use super::design::Design;
use super::options::{DesignKind, Options};
use super::outcome::{Outcome, RunError};
use super::plan::Plan;
use super::report::{Report, Seconds, caches, totals};
use super::shape::Shape;
use super::sheaves::Sheaves;
use super::sysfs::{Sysfs, SysfsError};
use super::system::System;
use super::{threads, virtual_cpus};
use crate::trace::{Malformed, ReadError, Reader, Trace};
use haybarn::{Arena, ArenaConfig, BackendKind};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Why a replay has no report.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// A file cannot be read, or has a malformed line where that is not allowed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The copy of `/sys/kernel/slab` cannot be read.
    #[error(transparent)]
    Sysfs(#[from] SysfsError),
    /// Options that do not go together, or a cache that cannot have the shape that it should.
    #[error("{0}")]
    Usage(String),
    /// The arena or a cache cannot be had.
    #[error(transparent)]
    Allocator(#[from] haybarn::Error),
    /// The run stopped.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// A replay's result.
#[derive(Debug)]
pub struct Replayed {
    /// The report.
    pub report: Report,
    /// The lines that were skipped, the first 1000 of them.
    pub malformed: Vec<Malformed>,
    /// Seconds by phase, for people; the report has them too unless it must be repeatable.
    pub seconds: Seconds,
}

/// Replays `files`, one after the other as one stream; pointers are matched within each file.
///
/// Blocks until the replay has ended; starts and joins threads of its own; may be called from any thread.
///
/// # Errors
/// [`ReplayError`].
pub fn replay(files: &[PathBuf], options: &Options) -> Result<Replayed, ReplayError> {
    let backend = engine(options)?;
    let sysfs = options.caches.as_deref().map(Sysfs::read).transpose()?;
    let begin = Instant::now();
    let mut reader = Reader::new(options.strict);
    for file in files {
        reader.file(file)?;
    }
    let trace = reader.finish();
    let read = begin.elapsed();

    let mut plan = Plan::new(&trace);
    let recorded_cpus = plan.cpus();
    plan.place(|_, cpu| options.cpus.of(cpu));
    let is_virtual = backend == Some(BackendKind::Virtual);
    let ran = match options.design {
        DesignKind::System => run(&plan, &[], &System::new(&plan), is_virtual)?,
        DesignKind::Sheaves => {
            let arena = Arena::create(config(&plan, options, backend))?;
            let shapes = shapes(&plan, sysfs.as_ref(), arena)?;
            let mut ran = run(&plan, &shapes, &Sheaves::new(arena, &plan, &shapes)?, is_virtual)?;
            ran.backend = Some(arena.backend());
            ran.nodes = arena.nodes();
            arena.trim();
            ran
        }
    };
    let seconds = Seconds { read: read.as_secs_f64(), replay: ran.outcome.time.as_secs_f64() };
    let backend = ran.backend.or(backend.filter(|_| is_virtual)).map(|kind| kind.to_string());
    let report = Report {
        files: files.iter().map(|file| file.display().to_string()).collect(),
        design: options.design.name(),
        backend,
        recorded_cpus,
        cpus: plan.cpus(),
        nodes: ran.nodes,
        threads: ran.outcome.threads,
        pinned: ran.outcome.pinned,
        lines: trace.tally,
        failed_allocs: plan.counts.failed_allocs,
        null_frees: plan.counts.null_frees,
        unmatched_frees: plan.counts.unmatched_frees,
        implied_frees: plan.counts.implied_frees,
        totals: totals(&ran.caches, options.design == DesignKind::Sheaves),
        violations: ran.outcome.violations.count,
        violation_texts: ran.outcome.violations.texts,
        caches: ran.caches,
        seconds: (!is_virtual).then_some(seconds),
    };
    let Trace { malformed, .. } = trace;
    Ok(Replayed { report, malformed, seconds })
}

/// The backend, with what the environment says: it decides which engine runs.
fn engine(options: &Options) -> Result<Option<BackendKind>, ReplayError> {
    let backend = match (options.backend, std::env::var("HAYBARN_BACKEND")) {
        (None, Ok(text)) if !text.is_empty() && options.design == DesignKind::Sheaves => {
            Some(text.parse().map_err(|error| ReplayError::Usage(format!("HAYBARN_BACKEND: {error}")))?)
        }
        (backend, _) => backend,
    };
    if options.nodes.is_some() && backend != Some(BackendKind::Virtual) {
        return Err(ReplayError::Usage("nodes are taken by backend virtual only; others ask the system".into()));
    }
    if options.design == DesignKind::System && !matches!(backend, None | Some(BackendKind::Virtual)) {
        return Err(ReplayError::Usage(
            "design system has no backend but virtual (one thread, in recorded order)".into(),
        ));
    }
    Ok(backend)
}

struct Ran {
    outcome: Outcome,
    caches: std::collections::BTreeMap<String, super::CacheReport>,
    backend: Option<BackendKind>,
    nodes: u32,
}

fn run(plan: &Plan, shapes: &[Shape], design: &dyn Design, is_virtual: bool) -> Result<Ran, RunError> {
    let mut outcome = if is_virtual { virtual_cpus::run(plan, design, |_| ())? } else { threads::run(plan, design)? };
    let caches = caches(plan, shapes, design, &outcome);
    outcome.close(plan, design, |cpu| {
        if is_virtual {
            haybarn::set_virtual_cpu(Some(u32::from(cpu)));
        }
    });
    haybarn::set_virtual_cpu(None);
    Ok(Ran { outcome, caches, backend: None, nodes: 1 })
}

fn shapes(plan: &Plan, sysfs: Option<&Sysfs>, arena: &Arena) -> Result<Vec<Shape>, ReplayError> {
    let cpus = match arena.backend() {
        BackendKind::Virtual => arena.cpus(),
        _ => haybarn::slab::geometry::default_cpus(haybarn::present_cpus(), haybarn::possible_cpus()),
    };
    plan.caches.iter().map(|cache| Shape::of(cache, sysfs, cpus).map_err(ReplayError::Usage)).collect()
}

/// Arenas are never unmapped, so that one of a replay reserves what the plan may need, not the default.
fn config(plan: &Plan, options: &Options, backend: Option<BackendKind>) -> ArenaConfig {
    let live: u64 = plan.caches.iter().map(|cache| cache.peak_objects * u64::from(cache.bytes_alloc)).sum();
    let reserve = (1 << 30) + 8 * usize::try_from(live).unwrap_or(usize::MAX / 16).next_multiple_of(1 << 21);
    let last = match options.cpus {
        super::Cpus::Modulo(count) => u32::from(count),
        super::Cpus::Recorded => plan.cpus().last().map_or(1, |&last| u32::from(last) + 1),
    };
    let is_virtual = backend == Some(BackendKind::Virtual);
    ArenaConfig {
        backend,
        cpus: is_virtual.then_some(last),
        nodes: if is_virtual { options.nodes.unwrap_or(1) } else { 0 },
        reserve,
        ..ArenaConfig::default()
    }
}

/// Reads and parses `files`, for who measures the reading alone: seconds, and events.
///
/// # Errors
/// As [`replay`].
pub fn read_only(files: &[PathBuf]) -> Result<(Duration, u64), ReadError> {
    let begin = Instant::now();
    let mut reader = Reader::new(false);
    for file in files {
        reader.file(file)?;
    }
    let trace = reader.finish();
    Ok((begin.elapsed(), trace.tally.events))
}
