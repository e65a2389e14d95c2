//! A run: one scenario on one field, from its preparation to its report.
#![forbid(unsafe_code)]

use super::field::Field;
use super::injector::Injector;
use super::pace::Pace;
use super::report::Report;
use super::rng::Rng;
use super::scenario::{Scenario, Setup, Work};
use super::worker::Worker;
use crate::oracle::{Claims, Kind, Ledger, Violation, conservation};
use crossbeam_utils::CachePadded;
use crossbeam_utils::atomic::AtomicCell;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// From this probability on, a run in which nothing was injected has not tested what it should.
const SURE: f64 = 0.001;

/// How much a run does.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Threads that will call [`Run::thread`], from 1 to [`Limits::MOST_THREADS`].
    pub threads: u32,
    /// Time from the first thread's beginning until all are told to stop.
    pub time: Duration,
    /// Allocations and frees of one thread after which it stops; none for no such limit.
    pub ops: Option<u64>,
    /// Where every thread's random numbers come from.
    pub seed: u64,
    /// Require the counters of races as well.
    pub long_campaign: bool,
    /// Probability, 0 to 1, with which requests for memory and for objects fail in spells of the run; 0 for no failures.
    pub inject: f64,
}

impl Limits {
    /// More threads than this are refused: a stamp has to name them.
    pub const MOST_THREADS: u32 = 1024;
}

/// A scenario that is under way. All methods may be called from any thread.
pub struct Run {
    scenario: &'static Scenario,
    field: Arc<dyn Field>,
    claims: Arc<Claims>,
    ledger: Ledger,
    limits: Limits,
    /// Read by the threads, taken away by the one that finishes.
    work: RwLock<Option<Box<dyn Work>>>,
    begun: OnceLock<Instant>,
    ops: Box<[CachePadded<AtomicCell<u64>>]>,
    taken: Box<[AtomicCell<bool>]>,
    stopped: AtomicCell<bool>,
    injector: Option<Injector>,
}

impl Run {
    /// Prepares `scenario`: makes its caches, starts nothing. `claims` outlives the runs of a campaign, so that objects of one
    /// scenario are seen in another. With `echo` violations go to standard error when they happen.
    ///
    /// # Errors
    /// A number of threads or a probability out of range, or why the allocator would not make a cache.
    pub fn new(
        scenario: &'static Scenario,
        field: Arc<dyn Field>,
        claims: Arc<Claims>,
        limits: Limits,
        echo: bool,
    ) -> Result<Self, String> {
        if !(1..=Limits::MOST_THREADS).contains(&limits.threads) {
            return Err(format!("threads: {} is not between 1 and {}", limits.threads, Limits::MOST_THREADS));
        }
        let injector = (limits.inject != 0.0).then(|| Injector::new(limits.inject)).transpose()?;
        let setup = Setup { field: &*field, threads: limits.threads, seed: limits.seed };
        let work = RwLock::new(Some((scenario.prepare)(&setup)?));
        let ops = (0..limits.threads).map(|_| CachePadded::default()).collect();
        let taken = (0..limits.threads).map(|_| AtomicCell::new(false)).collect();
        let (ledger, begun, stopped) = (Ledger::new(echo), OnceLock::new(), AtomicCell::new(false));
        Ok(Self { scenario, field, claims, ledger, limits, work, begun, ops, taken, stopped, injector })
    }

    /// The part of thread `index`, below the number of threads; returns when the run's time is up.
    ///
    /// # Errors
    /// When `index` is out of range or was used before (its stamps would be mistaken for the other's), or the run is finished.
    pub fn thread(&self, index: u32) -> Result<(), String> {
        let name = self.scenario.name;
        match self.taken.get(index as usize) {
            None => return Err(format!("{name}: thread {index} is not one of {}", self.limits.threads)),
            Some(taken) if taken.swap(true) => return Err(format!("{name}: thread {index} was run before")),
            Some(_) => {}
        }
        let begun = *self.begun.get_or_init(Instant::now);
        let work = self.work.read().unwrap_or_else(PoisonError::into_inner);
        let work = work.as_deref().ok_or_else(|| format!("{name}: this run was finished before"))?;
        self.field.enter(index);
        if let Some(injector) = &self.injector {
            injector.begin()?;
        }
        let mut worker = self.worker(index, begun + self.limits.time, self.injector.as_ref());
        work.work(&mut worker);
        worker.pace.publish();
        Ok(())
    }

    /// Tells all threads to stop before their time.
    pub fn stop(&self) {
        self.stopped.store(true);
    }

    /// Allocations and frees so far; a little behind while threads work.
    #[must_use]
    pub fn ops(&self) -> u64 {
        self.ops.iter().map(|ops| ops.load()).sum()
    }

    /// Violations so far.
    #[must_use]
    pub fn violations(&self) -> u64 {
        self.ledger.count()
    }

    /// Frees what the threads left, checks conservation, ends the caches and reports. All threads must have returned.
    ///
    /// # Errors
    /// When a thread is still at work, or it was called before.
    pub fn finish(&self) -> Result<Report, String> {
        let mut work =
            self.work.try_write().map_err(|_| format!("{}: threads are still at work", self.scenario.name))?;
        let work = work.take().ok_or_else(|| format!("{}: this run was finished before", self.scenario.name))?;
        let now = Instant::now();
        let seconds = now - *self.begun.get_or_init(|| now);
        let (faults, refused) = self.injector.as_ref().map_or((0, 0), Injector::end);
        if refused > faults {
            // Each failure goes back to a fault that said so, in the very call.
            let (expected, seen) =
                (format!("at most {faults} failures, as many as were injected"), refused.to_string());
            let (scenario, cache) = (self.scenario.name, String::new());
            let (kind, thread, address) = (Kind::Refused, None, 0);
            self.ledger.report(Violation { kind, scenario, thread, cache, address, expected, seen });
        }
        if self.ledger.count() == 0 {
            let mut worker = self.worker(0, now, None);
            work.settle(&mut worker);
            worker.pace.publish();
        }
        let mut counters = work.ended();
        for watched in work.into_caches() {
            counters.add(&conservation::close(watched, self.scenario.name, &self.ledger));
        }
        let long = self.limits.long_campaign && self.limits.threads > 1;
        let asked = self.limits.time.as_secs_f64();
        let backend = self.field.backend();
        // Needs are for runs that last; one that was told to stop before its time need not have come that far.
        let cut_short = self.limits.ops.is_some() || self.stopped.load();
        let needs = &self.scenario.needs;
        let missing =
            if cut_short { Vec::new() } else { needs.missing(backend, self.limits.threads, long, asked, &counters) };
        let mut missing: Vec<_> = missing.iter().map(|counter| counter.name()).collect();
        if !cut_short && self.limits.inject >= SURE && faults == 0 {
            missing.push("faults");
        }
        Ok(Report {
            scenario: self.scenario.name,
            seconds: seconds.as_secs_f64(),
            ops: self.ops(),
            violations: self.ledger.count(),
            examples: self.ledger.examples().iter().map(ToString::to_string).collect(),
            counters,
            missing,
            faults,
            refused,
        })
    }

    fn worker<'r>(&'r self, index: u32, deadline: Instant, injector: Option<&'r Injector>) -> Worker<'r> {
        Worker {
            index,
            rng: Rng::new(self.limits.seed, self.scenario.name, index),
            field: &*self.field,
            claims: &self.claims,
            ledger: &self.ledger,
            pace: Pace::new(deadline, self.limits.ops, &self.ops[index as usize], &self.stopped, injector),
            injector,
            scenario: self.scenario.name,
            numbered: 0,
            batch: Vec::new(),
        }
    }
}
