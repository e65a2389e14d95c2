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

/// From the largest sheaves to the smallest: with 4096 bytes almost every step reaches barn and slabs, and watched lightly a thread
/// spends so much of its time there that it is now and then preempted between reading a stack's head and swapping it.
const SPECS: [CacheSpec; 4] =
    [CacheSpec::plain(32), CacheSpec::counted(512), CacheSpec::plain(4096), CacheSpec::plain(4096).light()];
/// The one that is watched lightly.
const LIGHT: usize = 3;
/// Objects of its bursts: so few that the same few sheaves go round and round between slots and barn.
const SMALL: usize = 24;

struct Burst {
    caches: Vec<Watched>,
}

impl Work for Burst {
    fn work(&self, worker: &mut Worker<'_>) {
        let mut live = Live::default();
        while worker.go_on() {
            let index = worker.rng.below(self.caches.len());
            if index == LIGHT {
                for _ in 0..256 {
                    burst(worker, &self.caches[index], &mut live, SMALL);
                }
            } else {
                // Few objects make the threads meet in barns and slabs, many make slabs come and go.
                let most = if worker.rng.one_in(16) { 3000 } else { 100 };
                burst(worker, &self.caches[index], &mut live, most);
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

fn burst(worker: &mut Worker<'_>, watched: &Watched, live: &mut Live, most: usize) {
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
}
