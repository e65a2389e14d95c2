//! What a run leaves behind, and the steps that both engines share.

#![forbid(unsafe_code)]

use super::block::Block;
use super::design::{Design, Served};
use super::plan::{Op, Plan};
use super::tally::{CacheTally, Peak, Violations};
use std::time::Duration;
use thiserror::Error;

/// Why a run stopped before its end.
#[derive(Debug, Error)]
pub enum RunError {
    /// Memory ran out; the objects that were live are lost with the run.
    #[error("out of memory in cache {cache} after {allocs} allocations")]
    OutOfMemory {
        /// Name of the cache.
        cache: String,
        /// Allocations of it that the thread had made.
        allocs: u64,
    },
    /// A thread could not be started.
    #[error("thread for CPU {cpu}: {source}")]
    Thread {
        /// Its CPU.
        cpu: u16,
        /// What the system said.
        source: std::io::Error,
    },
    /// A thread panicked: a defect of the allocator or of the replay.
    #[error("the thread of CPU {0} panicked")]
    Panicked(u16),
}

/// A run that came to its end. Its live objects are still live.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Counts, by cache.
    pub caches: Vec<CacheTally>,
    /// Peaks, by cache.
    pub peaks: Vec<Peak>,
    /// What went wrong.
    pub violations: Violations,
    /// Objects that nothing freed.
    pub live: Vec<Live>,
    /// Threads that ran.
    pub threads: u32,
    /// Threads that were pinned to the CPU of their number.
    pub pinned: u32,
    /// From the first step to the last.
    pub time: Duration,
}

/// An object that the trace never freed.
#[derive(Debug)]
pub struct Live {
    /// Its number.
    pub object: u32,
    /// CPU that allocated it.
    pub cpu: u16,
    /// Its memory.
    pub block: Block,
}

/// One thread's view of a run: allocates, frees, checks and counts.
pub(super) struct Worker<'a> {
    pub plan: &'a Plan,
    pub design: &'a dyn Design,
    pub caches: Vec<CacheTally>,
    pub violations: Violations,
}

impl<'a> Worker<'a> {
    pub fn new(plan: &'a Plan, design: &'a dyn Design) -> Self {
        let caches = vec![CacheTally::default(); plan.caches.len()];
        Worker { plan, design, caches, violations: Violations::default() }
    }

    pub fn alloc(&mut self, op: Op) -> Result<(Block, Option<Served>), RunError> {
        let object = &self.plan.objects[op.object as usize];
        let cache = object.cache as usize;
        let Some((block, served)) = self.design.alloc(object, op.object) else {
            let name = self.plan.caches[cache].name.clone();
            return Err(RunError::OutOfMemory { cache: name, allocs: self.caches[cache].allocs });
        };
        let align = self.design.align(object.cache);
        if !block.address().is_multiple_of(align) {
            self.violations.misaligned(&self.plan.caches[cache].name, op.object, block.address(), align);
        }
        self.caches[cache].alloc(served);
        Ok((block, served))
    }

    pub fn free(&mut self, object: u32, block: Block) {
        let cache = self.plan.objects[object as usize].cache;
        self.verify(object, &block);
        self.caches[cache as usize].frees += 1;
        self.design.free(cache, block);
    }

    fn verify(&mut self, object: u32, block: &Block) {
        if let Err(damage) = block.verify() {
            let cache = self.plan.objects[object as usize].cache as usize;
            self.violations.damaged(&self.plan.caches[cache].name, object, damage);
        }
    }
}

impl Outcome {
    /// An outcome with nothing in it, for a plan of `caches` caches.
    pub(super) fn new(caches: usize) -> Self {
        Outcome { caches: vec![CacheTally::default(); caches], peaks: vec![Peak::default(); caches], ..Self::default() }
    }

    /// Adds what a thread counted.
    pub(super) fn take(&mut self, worker: Worker<'_>) {
        for (sum, more) in self.caches.iter_mut().zip(&worker.caches) {
            sum.add(more);
        }
        self.violations.merge(worker.violations);
    }

    /// Verifies and frees what is still live, each as if on `cpu`'s CPU (a virtual one, or nothing to do), then ends the
    /// design's caches. Counts of the run are not changed by it.
    pub fn close(&mut self, plan: &Plan, design: &dyn Design, mut on_cpu: impl FnMut(u16)) {
        let mut worker = Worker::new(plan, design);
        self.live.sort_by_key(|live| live.object);
        for Live { object, cpu, block } in self.live.drain(..) {
            on_cpu(cpu);
            worker.free(object, block);
        }
        self.violations.merge(worker.violations);
        for text in design.finish() {
            self.violations.add(|| text);
        }
    }
}
