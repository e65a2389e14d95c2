//! prefill: sheaves go out, are taken from to the last object, refilled and given back, while other objects come and go.
#![forbid(unsafe_code)]

use super::field::CacheSpec;
use super::live::Live;
use super::needs::Needs;
use super::scenario::{Scenario, Setup, Work};
use super::worker::Worker;
use crate::oracle::Watched;
use crate::oracle::subject::Counter::{
    BarnGet, CasFail, NewSlab, PrefillFast, PrefillOversize, PrefillSlow, Refill, ReturnFast, ReturnSlow,
};

pub const SCENARIO: Scenario = Scenario {
    name: "prefill",
    about: "sheaves are prefilled, taken from, refilled and given back; what was set aside must be there, whatever fails",
    needs: Needs::everywhere(
        &[Refill, BarnGet, NewSlab, PrefillFast, PrefillSlow, PrefillOversize, ReturnFast, ReturnSlow],
        &[CasFail],
    ),
    prepare: |setup: &Setup<'_>| Ok(Box::new(Prefill { caches: setup.caches("prefill", &SPECS)? })),
};

/// Sheaves of 60, 28 and 4 objects; the large objects of the fourth make the slabs come and go. In the last, sheaves go out
/// and back and little else happens.
const SPECS: [CacheSpec; 5] = [
    CacheSpec::plain(64),
    CacheSpec::counted(64),
    CacheSpec::counted(512),
    CacheSpec::plain(4096),
    CacheSpec::plain(256).light(),
];
const LIGHT: usize = 4;
/// Sheaves of one cache that a thread has out at once: more than one, or all would come from the spare and go back there.
const OUT: usize = 4;
/// Objects set aside in one sheaf, at most; a refill may double it.
const LARGEST: usize = 1300;
/// Other objects of a thread, at most.
const MOST: usize = 400;

struct Prefill {
    caches: Vec<Watched>,
}

impl Work for Prefill {
    fn work(&self, worker: &mut Worker<'_>) {
        let mut live: Vec<Live> = self.caches.iter().map(|_| Live::default()).collect();
        while worker.go_on() {
            out_and_back(worker, &self.caches[LIGHT], &mut live[LIGHT]);
            let index = worker.rng.below(LIGHT);
            let (watched, live) = (&self.caches[index], &mut live[index]);
            one_round(worker, watched, live);
            // Objects that came straight from the CPU, so that its sheaves are never quite the same.
            for _ in 0..worker.rng.below(40) {
                live.extend(worker.alloc(watched));
            }
            while worker.clean()
                && live.len() > MOST
                && let Some(held) = live.pop_any(&mut worker.rng)
            {
                worker.free(watched, held);
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

/// Out and back and hardly anything else, so that a thread is now and then preempted between its look at a slot and its swap.
fn out_and_back(worker: &mut Worker<'_>, watched: &Watched, live: &mut Live) {
    for _ in 0..worker.rng.below(4000) {
        let Some(mut aside) = worker.prefill(watched, 1) else { break };
        if worker.rng.one_in(64) {
            live.extend(worker.take_aside(watched, &mut *aside));
            live.extend(worker.alloc(watched));
        }
    }
    worker.free_all(watched, live);
}

/// Some sheaves out, used in turn, given back one by one.
fn one_round(worker: &mut Worker<'_>, watched: &Watched, live: &mut Live) {
    let mut out = Vec::new();
    for _ in 0..worker.rng.between(1, OUT) {
        let n = if worker.rng.one_in(8) { worker.rng.between(61, LARGEST) } else { worker.rng.between(1, 60) };
        out.extend(worker.prefill(watched, n).map(|aside| (aside, n)));
    }
    while worker.clean() && !out.is_empty() {
        let last = worker.rng.below(out.len());
        let (mut aside, n) = out.swap_remove(last);
        // Never more than was asked for, now and then all of it: that is what was promised.
        let wanted = if worker.rng.one_in(3) { n } else { worker.rng.below(n + 1) };
        for _ in 0..wanted {
            live.extend(worker.take_aside(watched, &mut *aside));
            if worker.rng.one_in(4)
                && worker.clean()
                && let Some(held) = live.pop()
            {
                worker.free(watched, held);
            }
        }
        if worker.rng.one_in(8) {
            worker.hop();
        }
        if worker.rng.one_in(4) {
            let most = if worker.rng.one_in(8) { 2 * n.min(LARGEST) } else { n }.max(1);
            let wanted = worker.rng.between(1, most);
            worker.refill(watched, &mut *aside, wanted);
            let promised = aside.len();
            out.push((aside, promised));
        }
    }
}
