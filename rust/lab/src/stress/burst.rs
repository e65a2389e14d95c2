//! burst: many objects at once, then all of them freed: newest first, oldest first or in random order.
#![forbid(unsafe_code)]

use super::field::CacheSpec;
use super::live::Live;
use super::needs::Needs;
use super::scenario::{Scenario, Setup, Work};
use super::worker::Worker;
use crate::oracle::Watched;
use crate::oracle::subject::Counter::{BarnGet, BarnPut, CasFail, Flush, FreedSlab, NewSlab, Refill};

pub const SCENARIO: Scenario = Scenario {
    name: "burst",
    about: "bursts of allocations, freed newest first, oldest first or in random order",
    needs: Needs::everywhere(&[Refill, Flush, BarnGet, BarnPut, NewSlab, FreedSlab], &[CasFail]),
    prepare: |setup: &Setup<'_>| Ok(Box::new(Burst { caches: setup.caches("burst", &SPECS)? })),
};

/// From the largest sheaves to the smallest: with 4096 bytes almost every step reaches barn and slabs.
const SPECS: [CacheSpec; 3] = [CacheSpec::plain(32), CacheSpec::counted(512), CacheSpec::plain(4096)];

struct Burst {
    caches: Vec<Watched>,
}

impl Work for Burst {
    fn work(&self, worker: &mut Worker<'_>) {
        let mut live = Live::default();
        while worker.go_on() {
            let watched = &self.caches[worker.rng.below(self.caches.len())];
            // Few objects make the threads meet in barns and slabs, many make slabs come and go.
            let most = if worker.rng.one_in(8) { 3000 } else { 100 };
            for _ in 0..worker.rng.between(1, most) {
                live.extend(worker.alloc(watched));
            }
            let order = worker.rng.below(3);
            while worker.clean() {
                let next = match order {
                    0 => live.pop(),
                    1 => live.pop_oldest(),
                    _ => live.pop_any(&mut worker.rng),
                };
                let Some(held) = next else { break };
                worker.free(watched, held);
            }
            if worker.rng.one_in(64) {
                worker.hop();
            }
        }
        live.forget();
    }

    fn into_caches(self: Box<Self>) -> Vec<Watched> {
        self.caches
    }
}
