//! Engine `virtual`: the recorded CPUs as virtual CPUs of one thread, in the order of the file. The same plan gives the same
//! counters every time.

#![forbid(unsafe_code)]

use super::design::{Design, Served};
use super::outcome::{Live, Outcome, RunError, Worker};
use super::plan::{Op, Plan};
use std::time::Instant;

/// A step that was taken, for who watches.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Index into [`Plan::ops`].
    pub index: usize,
    /// The step.
    pub op: Op,
    /// Index into [`Plan::caches`].
    pub cache: u32,
    /// Level that served it; `None` for frees and for designs without levels.
    pub served: Option<Served>,
}

/// Runs `plan` on `design`, calling `watch` after every step.
///
/// # Errors
/// [`RunError::OutOfMemory`].
pub fn run(plan: &Plan, design: &dyn Design, mut watch: impl FnMut(Step)) -> Result<Outcome, RunError> {
    let mut outcome = Outcome::new(plan.caches.len());
    let mut worker = Worker::new(plan, design);
    let mut live: Vec<Option<Live>> = Vec::new();
    live.resize_with(plan.objects.len(), || None);
    let mut live_bytes = vec![0u64; plan.caches.len()];
    let begin = Instant::now();
    for (index, &op) in plan.ops.iter().enumerate() {
        haybarn::set_virtual_cpu(Some(u32::from(op.cpu)));
        let planned = plan.objects[op.object as usize];
        let (cache, bytes) = (planned.cache as usize, u64::from(planned.bytes_req));
        let served = if op.free {
            let Live { block, .. } = live[op.object as usize].take().expect("the plan frees what it allocated");
            worker.free(op.object, block);
            live_bytes[cache] -= bytes;
            None
        } else {
            let (block, served) = worker.alloc(op)?;
            live[op.object as usize] = Some(Live { object: op.object, cpu: op.cpu, block });
            live_bytes[cache] += bytes;
            if matches!(served, Some(Served::NewSlab | Served::PageRun))
                && let Some(usage) = design.usage(planned.cache)
            {
                outcome.peaks[cache].note(usage, || live_bytes[cache]);
            }
            served
        };
        watch(Step { index, op, cache: planned.cache, served });
    }
    outcome.time = begin.elapsed();
    haybarn::set_virtual_cpu(None);
    outcome.threads = 1;
    outcome.live = live.into_iter().flatten().collect();
    outcome.take(worker);
    Ok(outcome)
}
