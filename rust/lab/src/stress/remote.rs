//! remote: what one thread allocates another frees. Thread 2k produces for thread 2k + 1; a last thread without a partner does both.
#![forbid(unsafe_code)]

use super::field::CacheSpec;
use super::held::Held;
use super::live::Live;
use super::needs::Needs;
use super::scenario::{Scenario, Setup, Work};
use super::worker::Worker;
use crate::oracle::Watched;
use crate::oracle::subject::Counter::{BarnGet, BarnPut, CasFail, Flush, FreedSlab, NewSlab, Refill};
use crossbeam_queue::ArrayQueue;
use crossbeam_utils::atomic::AtomicCell;

/// A pair on one node trades full and empty sheaves through the barn; a barn that runs full is flushed to the slabs. Two threads on
/// `virtual` are on two nodes, where all goes straight to the slabs.
pub const SCENARIO: Scenario = Scenario {
    name: "remote",
    about: "producers allocate, consumers on other threads free",
    needs: Needs {
        rseq: &[Refill, BarnGet, BarnPut, NewSlab],
        locked: &[Refill, BarnGet, BarnPut, NewSlab],
        virtual_cpus: &[Refill, NewSlab, FreedSlab],
        among: &[],
        races: &[CasFail, Flush],
        sampled: &[],
    },
    prepare: |setup: &Setup<'_>| {
        let caches = setup.caches("remote", &[CacheSpec::plain(128), CacheSpec::counted(4096)])?;
        let pairs = (0..setup.threads.div_ceil(2)).map(|_| Pair::new(caches.len())).collect();
        Ok(Box::new(Remote { caches, pairs, threads: setup.threads }))
    },
};

/// Objects on their way between two threads, at most; more than a barn of full sheaves holds.
const DEPTH: usize = 1024;

struct Remote {
    caches: Vec<Watched>,
    pairs: Vec<Pair>,
    threads: u32,
}

/// Two threads that work together.
struct Pair {
    /// A queue for each cache.
    queues: Vec<ArrayQueue<Held>>,
    /// The producer has done its part; the consumer ends with it.
    produced: AtomicCell<bool>,
}

impl Pair {
    fn new(caches: usize) -> Self {
        Self { queues: (0..caches).map(|_| ArrayQueue::new(DEPTH)).collect(), produced: AtomicCell::new(false) }
    }
}

impl Work for Remote {
    fn work(&self, worker: &mut Worker<'_>) {
        let pair = &self.pairs[worker.index as usize / 2];
        let produces = worker.index.is_multiple_of(2);
        let consumes = !produces || worker.index + 1 == self.threads;
        while worker.go_on() && (produces || !pair.produced.load()) {
            let index = worker.rng.below(self.caches.len());
            let run = worker.rng.between(1, DEPTH);
            let (watched, queue) = (&self.caches[index], &pair.queues[index]);
            if produces {
                produce(worker, watched, queue, run);
            }
            if consumes {
                consume(worker, watched, queue, run);
            }
            if worker.rng.one_in(16) {
                worker.hop();
            }
        }
        if produces {
            pair.produced.store(true);
        }
    }

    fn settle(&self, worker: &mut Worker<'_>) {
        for pair in &self.pairs {
            for (watched, queue) in self.caches.iter().zip(&pair.queues) {
                consume(worker, watched, queue, DEPTH);
            }
        }
    }

    fn into_caches(self: Box<Self>) -> Vec<Watched> {
        self.caches
    }
}

fn produce(worker: &mut Worker<'_>, watched: &Watched, queue: &ArrayQueue<Held>, run: usize) {
    let mut back = Live::default();
    for _ in 0..run {
        let Some(held) = worker.alloc(watched) else { break };
        if let Err(held) = queue.push(held) {
            // The partner is behind: keep the CPU for it rather than the queue.
            back.extend([held]);
            std::thread::yield_now();
            break;
        }
    }
    worker.free_all(watched, &mut back);
}

fn consume(worker: &mut Worker<'_>, watched: &Watched, queue: &ArrayQueue<Held>, run: usize) {
    for _ in 0..run {
        if !worker.clean() {
            break;
        }
        let Some(held) = queue.pop() else {
            std::thread::yield_now();
            break;
        };
        worker.free(watched, held);
    }
}
