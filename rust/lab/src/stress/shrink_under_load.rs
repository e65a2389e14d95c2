//! shrink-under-load: one thread drains every CPU's slot without a pause while the others work on them.
#![forbid(unsafe_code)]

use super::field::CacheSpec;
use super::live::Live;
use super::needs::Needs;
use super::scenario::{Scenario, Setup, Work};
use super::worker::Worker;
use crate::oracle::Watched;
use crate::oracle::subject::Counter::{CasFail, Drain, DrainRetry, NewSlab, Refill};
use crossbeam_utils::atomic::AtomicCell;

pub const SCENARIO: Scenario = Scenario {
    name: "shrink-under-load",
    about: "one thread shrinks the caches, draining other CPUs, while the others allocate and free",
    needs: Needs {
        rseq: &[Refill, NewSlab, Drain],
        locked: &[Refill, NewSlab, Drain],
        virtual_cpus: &[Refill, NewSlab, Drain],
        among: &[],
        races: &[CasFail, DrainRetry],
        sampled: &[],
    },
    prepare: |setup: &Setup<'_>| {
        let caches = setup.caches("shrink", &SPECS)?;
        Ok(Box::new(ShrinkUnderLoad { caches, alone: setup.threads == 1, loading: AtomicCell::new(setup.threads - 1) }))
    },
};

const SPECS: [CacheSpec; 3] = [CacheSpec::plain(64), CacheSpec::counted(64), CacheSpec::plain(1024)];

struct ShrinkUnderLoad {
    caches: Vec<Watched>,
    alone: bool,
    /// Threads that still load; the one that shrinks ends with them.
    loading: AtomicCell<u32>,
}

impl Work for ShrinkUnderLoad {
    fn work(&self, worker: &mut Worker<'_>) {
        let mut live = Live::default();
        while worker.go_on() && (worker.index != 0 || self.alone || self.loading.load() > 0) {
            let watched = &self.caches[worker.rng.below(self.caches.len())];
            if worker.index == 0 {
                watched.subject.shrink();
            }
            if worker.index != 0 || self.alone {
                load(worker, watched, &mut live);
            }
            if worker.rng.one_in(512) {
                worker.hop();
            }
        }
        if worker.index != 0 {
            self.loading.fetch_sub(1);
        }
    }

    fn into_caches(self: Box<Self>) -> Vec<Watched> {
        self.caches
    }
}

/// Pairs keep a CPU's slot changing all the time, which is what a drain races with; small sets cross the edges of sheaves.
fn load(worker: &mut Worker<'_>, watched: &Watched, live: &mut Live) {
    for _ in 0..64 {
        let held = if worker.rng.one_in(2) { 1 } else { worker.rng.between(1, 8) };
        for _ in 0..held {
            live.extend(worker.alloc(watched));
        }
        worker.free_all(watched, live);
    }
    for _ in 0..worker.rng.below(200) {
        live.extend(worker.alloc(watched));
    }
    worker.free_all(watched, live);
}
