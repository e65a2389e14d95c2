//! ctor: objects that are constructed once per slab, by constructors that fail now and then; destructors on every thread.
#![forbid(unsafe_code)]

use super::field::CacheSpec;
use super::live::Live;
use super::needs::Needs;
use super::scenario::{Scenario, Setup, Work};
use super::worker::Worker;
use crate::oracle::Watched;
use crate::oracle::subject::Counter::{Constructed, CtorFailed, Destructed, FreedSlab, NewSlab, QueuedFree, Refill};
use haybarn::DtorMode;

pub const SCENARIO: Scenario = Scenario {
    name: "ctor",
    about: "objects constructed once per slab, by constructors that fail and take parts of another cache; every dtor mode",
    needs: Needs::everywhere(&[Refill, NewSlab, FreedSlab, Constructed, Destructed, CtorFailed, QueuedFree], &[]),
    prepare: |setup: &Setup<'_>| Ok(Box::new(Ctor { caches: setup.caches("ctor", &SPECS)? })),
};

const SPECS: [CacheSpec; 4] = [
    CacheSpec::counted(120).constructed(DtorMode::Inline),
    CacheSpec::plain(512).constructed(DtorMode::Service),
    CacheSpec::plain(1000).constructed(DtorMode::Manual),
    CacheSpec::counted(4096).constructed(DtorMode::Inline),
];
/// Live objects of one cache, at most.
const MOST: usize = 400;
/// One construction in so many fails, in turn: slabs of some tens of objects fail seldom, often, never.
const FAILURES: [u64; 3] = [1000, 50, 0];

struct Ctor {
    caches: Vec<Watched>,
}

impl Work for Ctor {
    fn work(&self, worker: &mut Worker<'_>) {
        let mut live: Vec<Live> = self.caches.iter().map(|_| Live::default()).collect();
        let mut round = 0;
        while worker.go_on() {
            let index = worker.rng.below(self.caches.len());
            let (watched, live) = (&self.caches[index], &mut live[index]);
            round += 1;
            if worker.index == 0
                && let Some(constructed) = watched.subject.constructed()
            {
                constructed.fail_one_in(FAILURES[round / 8 % FAILURES.len()]);
            }
            // Up to some level and down to another, by ones and in bulk.
            let top = worker.rng.below(MOST);
            for _ in live.len()..top {
                if worker.rng.one_in(16) {
                    worker.alloc_bulk(watched, 30, live);
                } else {
                    live.extend(worker.alloc(watched));
                }
            }
            let bottom = if worker.rng.one_in(2) { 0 } else { worker.rng.below(MOST) };
            while live.len() > bottom
                && let Some(held) = live.pop_any(&mut worker.rng)
            {
                worker.free(watched, held);
            }
            if worker.rng.one_in(8) {
                watched.subject.shrink();
            }
            if worker.rng.one_in(4) {
                watched.subject.reap();
            }
            if worker.rng.one_in(16) {
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
