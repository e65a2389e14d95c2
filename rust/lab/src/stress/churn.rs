//! churn: every thread keeps a changing set of live objects of several caches and frees any of them, hopping CPUs.
#![forbid(unsafe_code)]

use super::field::CacheSpec;
use super::live::Live;
use super::needs::Needs;
use super::scenario::{Scenario, Setup, Work};
use super::worker::Worker;
use crate::oracle::Watched;
use crate::oracle::subject::Counter::{BarnGet, BarnPut, CasFail, Flush, FreedSlab, NewSlab, Refill};

pub const SCENARIO: Scenario = Scenario {
    name: "churn",
    about: "live sets that grow and shrink, freed in random order, on threads that hop CPUs",
    needs: Needs::everywhere(&[Refill, Flush, BarnGet, BarnPut, NewSlab, FreedSlab], &[CasFail]),
    prepare: |setup: &Setup<'_>| Ok(Box::new(Churn { caches: setup.caches("churn", &SPECS)? })),
};

const SPECS: [CacheSpec; 4] =
    [CacheSpec::counted(64), CacheSpec::plain(200).aligned(64), CacheSpec::plain(1000), CacheSpec::counted(4096)];
/// Live objects of one cache, at most: several sheaves of the largest capacity and several slabs.
const MOST: usize = 1000;

struct Churn {
    caches: Vec<Watched>,
}

impl Work for Churn {
    fn work(&self, worker: &mut Worker<'_>) {
        let mut live: Vec<Live> = self.caches.iter().map(|_| Live::default()).collect();
        let mut goals = vec![0; self.caches.len()];
        while worker.go_on() {
            let index = worker.rng.below(self.caches.len());
            let (watched, live) = (&self.caches[index], &mut live[index]);
            // A goal that jumps makes the set cross sheaves, barns and slabs in both directions; now and then it goes to nothing.
            // Near is enough: a visit of 16 steps of one object each never changes an even number to an odd one.
            if live.len().abs_diff(goals[index]) <= 1 {
                goals[index] = if worker.rng.one_in(4) { 0 } else { worker.rng.below(MOST) };
            }
            for _ in 0..16 {
                let grow = live.len() < goals[index] && !worker.rng.one_in(8);
                match live.pop_any(&mut worker.rng) {
                    Some(held) if !grow => worker.free(watched, held),
                    kept => {
                        live.extend(kept);
                        live.extend(worker.alloc(watched));
                    }
                }
            }
            if worker.rng.one_in(256) {
                worker.hop();
            }
        }
        for (watched, live) in self.caches.iter().zip(&mut live) {
            worker.free_all(watched, live);
        }
    }

    fn into_caches(self: Box<Self>) -> Vec<Watched> {
        self.caches
    }
}
