//! bulk: whole batches are allocated and freed by one call, mixed with single objects.
#![forbid(unsafe_code)]

use super::field::CacheSpec;
use super::live::Live;
use super::needs::Needs;
use super::scenario::{Scenario, Setup, Work};
use super::worker::Worker;
use crate::oracle::Watched;
use crate::oracle::subject::Counter::{BarnGet, BarnPut, CasFail, Flush, NewSlab, Refill};

pub const SCENARIO: Scenario = Scenario {
    name: "bulk",
    about: "bulk allocations and bulk frees of 1 to 300 objects, mixed with single ones",
    needs: Needs::everywhere(&[Refill, Flush, BarnGet, BarnPut, NewSlab], &[CasFail]),
    prepare: |setup: &Setup<'_>| Ok(Box::new(Bulk { caches: setup.caches("bulk", &SPECS)? })),
};

const SPECS: [CacheSpec; 3] = [CacheSpec::plain(48), CacheSpec::counted(256), CacheSpec::plain(2000)];
/// Objects of one call, at most: more than two sheaves of the largest capacity hold.
const BATCH: usize = 300;
/// Live objects at which a thread begins to free.
const MOST: usize = 1500;

struct Bulk {
    caches: Vec<Watched>,
}

impl Work for Bulk {
    fn work(&self, worker: &mut Worker<'_>) {
        let mut live: Vec<Live> = self.caches.iter().map(|_| Live::default()).collect();
        while worker.go_on() {
            let index = worker.rng.below(self.caches.len());
            let (watched, live) = (&self.caches[index], &mut live[index]);
            let n = worker.rng.between(1, BATCH);
            let free = live.len() >= MOST || (!live.is_empty() && worker.rng.one_in(2));
            match (free, worker.rng.one_in(4)) {
                (false, false) => worker.alloc_bulk(watched, n, live),
                (false, true) => live.extend(worker.alloc(watched)),
                (true, false) => {
                    let n = if worker.rng.one_in(16) { live.len() } else { n };
                    worker.free_bulk(watched, live.drain_newest(n));
                }
                (true, true) => {
                    if let Some(held) = live.pop_any(&mut worker.rng) {
                        worker.free(watched, held);
                    }
                }
            }
            if worker.rng.one_in(128) {
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
