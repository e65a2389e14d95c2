//! Engine `threads`: one OS thread per CPU of the plan, pinned to the CPU of that number where this machine has it.
//!
//! A free of another thread's object waits here, in the lab, until that thread has allocated it; the allocator never waits.

#![forbid(unsafe_code)]

use super::block::Block;
use super::design::{Design, Served};
use super::outcome::{Live, Outcome, RunError, Worker};
use super::pin;
use super::plan::Plan;
use super::routes::{Place, Route, routes};
use super::tally::Peak;
use haybarn::sync::Counter;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Runs `plan` on `design`.
///
/// # Errors
/// [`RunError`]; every thread has ended then.
pub fn run(plan: &Plan, design: &dyn Design) -> Result<Outcome, RunError> {
    let (routes, shared) = routes(plan);
    let allowed = pin::allowed();
    let run = Run {
        plan,
        design,
        shared: (0..shared).map(|_| Mutex::new(None)).collect(),
        live_bytes: routes.iter().map(|_| plan.caches.iter().map(|_| Counter::new()).collect()).collect(),
        peaks: plan.caches.iter().map(|_| Mutex::new(Peak::default())).collect(),
        go: OnceLock::new(),
        stop: Counter::new(),
    };
    let mut outcome = Outcome::new(plan.caches.len());
    thread::scope(|scope| {
        let mut threads = Vec::new();
        let mut failed = None;
        for (index, route) in routes.iter().enumerate() {
            let (run, allowed) = (&run, &allowed);
            let started = thread::Builder::new().name(format!("replay-{}", route.cpu)).spawn_scoped(scope, move || {
                let pinned = allowed.contains(&usize::from(route.cpu)) && pin::pin(usize::from(route.cpu));
                run.thread(index, route).map(|done| (done, pinned))
            });
            match started {
                Ok(thread) => threads.push((route.cpu, thread)),
                Err(source) => {
                    run.stop.add(1);
                    failed = Some(RunError::Thread { cpu: route.cpu, source });
                    break;
                }
            }
        }
        let begin = Instant::now();
        run.go.set(()).expect("the gate opens once");
        let joined: Vec<_> = threads.into_iter().map(|(cpu, thread)| (cpu, thread.join())).collect();
        outcome.time = begin.elapsed();
        for (cpu, result) in joined {
            match result.map_err(|_| RunError::Panicked(cpu)).and_then(|done| done) {
                Ok((done, pinned)) => {
                    outcome.threads += 1;
                    outcome.pinned += u32::from(pinned);
                    outcome.live.extend(done.live);
                    outcome.take(done.worker);
                }
                // The first that says why: threads that were stopped by another's failure give no error.
                Err(error) => failed = failed.take().or(Some(error)),
            }
        }
        failed.map_or(Ok(()), Err)
    })?;
    outcome.peaks =
        run.peaks.into_iter().map(|peak| peak.into_inner().unwrap_or_else(PoisonError::into_inner)).collect();
    Ok(outcome)
}

/// What the threads of a run share.
struct Run<'a> {
    plan: &'a Plan,
    design: &'a dyn Design,
    shared: Vec<Mutex<Option<Block>>>,
    /// By thread and cache, so that nobody's cache line is another's hot one; sums wrap to the truth.
    live_bytes: Vec<Vec<Counter>>,
    peaks: Vec<Mutex<Peak>>,
    go: OnceLock<()>,
    /// Above 0: a thread failed, the others end.
    stop: Counter,
}

struct Done<'a> {
    worker: Worker<'a>,
    live: Vec<Live>,
}

/// Tells the others when a thread ends without having said that it is well.
struct Alarm<'a>(&'a Counter, bool);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if !self.1 {
            self.0.add(1);
        }
    }
}

impl<'a> Run<'a> {
    fn thread(&'a self, index: usize, route: &Route) -> Result<Done<'a>, RunError> {
        let mut alarm = Alarm(&self.stop, false);
        let mut worker = Worker::new(self.plan, self.design);
        let mut own: Vec<Option<Live>> = Vec::new();
        own.resize_with(route.own as usize, || None);
        self.go.wait();
        for step in &route.steps {
            let (op, planned) = (step.op, self.plan.objects[step.op.object as usize]);
            let live_bytes = &self.live_bytes[index][planned.cache as usize];
            if op.free {
                let block = match step.place {
                    Place::Own(at) => own[at as usize].take().map(|live| live.block),
                    Place::Shared(at) => self.receive(at),
                };
                let Some(block) = block else { break };
                worker.free(op.object, block);
                live_bytes.sub(u64::from(planned.bytes_req));
            } else {
                let (block, served) = worker.alloc(op)?;
                live_bytes.add(u64::from(planned.bytes_req));
                if matches!(served, Some(Served::NewSlab | Served::PageRun)) {
                    self.note_peak(planned.cache);
                }
                match step.place {
                    Place::Own(at) => own[at as usize] = Some(Live { object: op.object, cpu: op.cpu, block }),
                    Place::Shared(at) => *lock(&self.shared[at as usize]) = Some(block),
                }
            }
        }
        alarm.1 = true;
        Ok(Done { worker, live: own.into_iter().flatten().collect() })
    }

    /// Waits for the block of a shared place; `None` if another thread failed, so that it may never come.
    fn receive(&self, at: u32) -> Option<Block> {
        let mut tries = 0u32;
        loop {
            if let Some(block) = lock(&self.shared[at as usize]).take() {
                return Some(block);
            }
            if self.stop.get() > 0 {
                return None;
            }
            tries = tries.saturating_add(1);
            match tries {
                0..64 => std::hint::spin_loop(),
                64..1024 => thread::yield_now(),
                _ => thread::sleep(Duration::from_micros(50)),
            }
        }
    }

    /// Peaks are looked at where a cache grows. What other threads do in between makes the live bytes of that moment a
    /// close guess, not a count.
    fn note_peak(&self, cache: u32) {
        if let Some(usage) = self.design.usage(cache) {
            let sum = || {
                let all = self.live_bytes.iter().map(|caches| caches[cache as usize].get());
                all.fold(0, u64::wrapping_add)
            };
            lock(&self.peaks[cache as usize]).note(usage, sum);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
