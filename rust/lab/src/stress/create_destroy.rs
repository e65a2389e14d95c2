//! create-destroy: caches come and go; some are filled by one thread and ended by another.
#![forbid(unsafe_code)]

use super::field::{CacheSpec, Field};
use super::live::Live;
use super::needs::Needs;
use super::no_cache::NoCache;
use super::scenario::{Scenario, Setup, Work};
use super::worker::Worker;
use crate::oracle::subject::Counter::{NewSlab, Refill};
use crate::oracle::{Counters, Kind, Watched};
use crossbeam_queue::ArrayQueue;
use std::sync::{Mutex, PoisonError};

pub const SCENARIO: Scenario = Scenario {
    name: "create-destroy",
    about: "caches are created, used, handed to other threads and destroyed, also (refused) with live objects",
    needs: Needs::everywhere(&[Refill, NewSlab], &[]),
    prepare: |setup: &Setup<'_>| {
        let passing = ArrayQueue::new(2 * setup.threads as usize);
        Ok(Box::new(CreateDestroy { passing, ended: Mutex::default() }))
    },
};

const SPECS: [CacheSpec; 5] = [
    CacheSpec::plain(16),
    CacheSpec::counted(96),
    CacheSpec::plain(256).aligned(256),
    CacheSpec::plain(1500),
    CacheSpec::counted(8000),
];

struct CreateDestroy {
    /// Caches with the objects that are live in them, for whoever takes them next.
    passing: ArrayQueue<(Watched, Live)>,
    ended: Mutex<Counters>,
}

impl Work for CreateDestroy {
    fn work(&self, worker: &mut Worker<'_>) {
        while worker.go_on() {
            let spec = SPECS[worker.rng.below(SPECS.len())];
            let field: &dyn Field = worker.field;
            let mut next = match field.cache("come-and-go", spec) {
                Ok(subject) => (Watched::new(subject, spec.watched_bytes()), Live::default()),
                Err(NoCache::OutOfMemory(_)) if worker.expects_refusals() => {
                    worker.refused();
                    continue;
                }
                Err(why) => {
                    return worker.report_about(
                        Kind::Lifetime,
                        "come-and-go",
                        0,
                        "a new cache".into(),
                        why.to_string(),
                    );
                }
            };
            self.use_it(worker, &mut next);
            // Half of the caches are ended by the thread that made them, the others by whoever finds them.
            if worker.rng.one_in(2) {
                self.end(worker, next);
            } else if let Some(other) = self.passing.force_push(next) {
                self.end(worker, other);
            }
            if worker.rng.one_in(32) {
                worker.hop();
            }
        }
    }

    fn settle(&self, worker: &mut Worker<'_>) {
        while let Some(next) = self.passing.pop() {
            self.end(worker, next);
        }
    }

    fn into_caches(self: Box<Self>) -> Vec<Watched> {
        Vec::new()
    }

    fn ended(&self) -> Counters {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CreateDestroy {
    fn use_it(&self, worker: &mut Worker<'_>, (watched, live): &mut (Watched, Live)) {
        for _ in 0..worker.rng.between(1, 400) {
            if worker.rng.one_in(3)
                && let Some(held) = live.pop_any(&mut worker.rng)
            {
                worker.free(watched, held);
            } else {
                live.extend(worker.alloc(watched));
            }
        }
    }

    fn end(&self, worker: &mut Worker<'_>, (mut watched, mut live): (Watched, Live)) {
        if worker.clean() && !live.is_empty() && worker.rng.one_in(4) {
            let name = watched.subject.name().to_owned();
            let Err((refused, _)) = watched.destroy() else {
                let expected = format!("destroy to be refused with {} live objects", live.len());
                return worker.report_about(Kind::Lifetime, &name, 0, expected, "success".into());
            };
            // The refusal must leave the cache usable.
            watched = refused;
            live.extend(worker.alloc(&watched));
        }
        worker.free_all(&watched, &mut live);
        let counters = worker.close(watched);
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).add(&counters);
    }
}
