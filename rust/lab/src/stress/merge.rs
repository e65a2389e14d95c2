//! merge: names that share slabs are made, used and ended by many threads at once, in any order.
#![forbid(unsafe_code)]

use super::field::{CacheSpec, Field};
use super::live::Live;
use super::needs::Needs;
use super::no_cache::NoCache;
use super::scenario::{Scenario, Setup, Work};
use super::worker::Worker;
use crate::oracle::subject::Counter::{self, Joined, Left, NewSlab, PrimaryLeft, Refill, StorageEnded};
use crate::oracle::{Counters, Kind, Watched};
use crossbeam_queue::ArrayQueue;
use crossbeam_utils::atomic::AtomicCell;
use std::time::Duration;

pub const SCENARIO: Scenario = Scenario {
    name: "merge",
    about: "names that share slabs are made, used, handed to other threads and ended in any order, the primary's too",
    needs: Needs::everywhere(&[Refill, NewSlab, Joined, Left, PrimaryLeft, StorageEnded], &[]),
    prepare: |setup: &Setup<'_>| {
        let families = FAMILIES.iter().map(|&(largest, anchored)| Family::new(setup, largest, anchored));
        Ok(Box::new(Merge { families: families.collect::<Result<_, _>>()?, counts: Default::default() }))
    },
};

/// The largest object of each family, whose others have up to seven bytes less, so that all of it share. In the second kind
/// one name stays all the time; in the others storages come and go with their names.
const FAMILIES: [(usize, bool); 5] = [(64, true), (200, true), (504, false), (1016, false), (2040, false)];

/// How often the end of a name is tried while another thread may be parking its slots for an injected fault.
const TRIES: u32 = 200;

struct Merge {
    families: Vec<Family>,
    counts: [AtomicCell<u64>; COUNTED.len()],
}

const COUNTED: [Counter; 4] = [Joined, Left, PrimaryLeft, StorageEnded];

struct Family {
    largest: usize,
    /// The name that stays, and so is the primary.
    anchor: Option<Watched>,
    /// Names with the objects that are live under them, for whoever takes them next.
    passing: ArrayQueue<(Watched, Live)>,
}

impl Family {
    fn new(setup: &Setup<'_>, largest: usize, anchored: bool) -> Result<Self, String> {
        let anchors = if anchored { vec![CacheSpec::plain(largest).merging()] } else { Vec::new() };
        let anchor = setup.caches("merge-anchor", &anchors)?.pop();
        Ok(Self { largest, anchor, passing: ArrayQueue::new(setup.threads as usize) })
    }
}

impl Work for Merge {
    fn work(&self, worker: &mut Worker<'_>) {
        while worker.go_on() {
            let family = &self.families[worker.rng.below(self.families.len())];
            let spec = CacheSpec::plain(family.largest - worker.rng.below(8)).merging();
            let field: &dyn Field = worker.field;
            let mut next = match field.cache("merge", spec) {
                Ok(subject) => (Watched::new(subject, spec.watched_bytes()), Live::default()),
                Err(NoCache::OutOfMemory(_)) if worker.expects_refusals() => {
                    worker.refused();
                    continue;
                }
                Err(why) => {
                    return worker.report_about(Kind::Lifetime, "merge", 0, "a new name".into(), why.to_string());
                }
            };
            self.look(worker, family, &next.0);
            use_some(worker, &mut next);
            if let Some(anchor) = family.anchor.as_ref().filter(|_| worker.rng.one_in(2)) {
                let mut live = Live::default();
                live.extend(worker.alloc(anchor));
                worker.free_all(anchor, &mut live);
            }
            if worker.rng.one_in(64) {
                next.0.subject.shrink();
            }
            // Some names are ended by the thread that made them, the others by whoever finds them.
            let other = if worker.rng.one_in(if family.anchor.is_some() { 2 } else { 8 }) {
                family.passing.force_push(next)
            } else {
                self.end(worker, next);
                // So that storages without an anchor lose their last name now and then.
                family.passing.pop()
            };
            if let Some(mut other) = other {
                use_some(worker, &mut other);
                self.end(worker, other);
            }
            if worker.rng.one_in(32) {
                worker.hop();
            }
        }
    }

    fn settle(&self, worker: &mut Worker<'_>) {
        for family in &self.families {
            while let Some(next) = family.passing.pop() {
                self.end(worker, next);
            }
        }
    }

    fn into_caches(self: Box<Self>) -> Vec<Watched> {
        self.families.into_iter().filter_map(|family| family.anchor).collect()
    }

    fn ended(&self) -> Counters {
        Counters::read(|counter| self.count(counter).map_or(0, AtomicCell::load))
    }
}

impl Merge {
    fn count(&self, counter: Counter) -> Option<&AtomicCell<u64>> {
        COUNTED.iter().position(|&own| own == counter).map(|at| &self.counts[at])
    }

    fn tally(&self, counter: Counter, n: bool) {
        self.count(counter).expect("a counter of this scenario").fetch_add(n.into());
    }

    /// Whether a new name shares the slabs that it should.
    fn look(&self, worker: &Worker<'_>, family: &Family, made: &Watched) {
        let Some(sharing) = made.subject.sharing() else { return };
        self.tally(Joined, sharing.primary != made.subject.name());
        let Some(anchor) = &family.anchor else { return };
        let Some(expected) = anchor.subject.sharing() else { return };
        if sharing.primary != anchor.subject.name() || sharing.storage != expected.storage {
            let expected = format!("to share the slabs of {}, the oldest", anchor.subject.name());
            worker.report(Kind::Lifetime, made, 0, expected, format!("those of {}", sharing.primary));
        }
    }

    /// Ends a name, which must work whatever others do to theirs.
    fn end(&self, worker: &mut Worker<'_>, (mut watched, mut live): (Watched, Live)) {
        worker.free_all(&watched, &mut live);
        if !worker.clean() {
            return;
        }
        if let Some(sharing) = watched.subject.sharing() {
            let is_primary = sharing.primary == watched.subject.name();
            self.tally(Left, sharing.others > 0);
            self.tally(PrimaryLeft, is_primary && sharing.others > 0);
            self.tally(StorageEnded, is_primary && sharing.others == 0);
        }
        worker.count(1);
        let tries = if worker.expects_refusals() { TRIES } else { 1 };
        for tried in 1..=tries {
            let Err((refused, why)) = watched.destroy() else { return };
            watched = refused;
            if tried == tries {
                worker.report(Kind::Lifetime, &watched, 0, "a name without live objects to end".into(), why);
            } else {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

fn use_some(worker: &mut Worker<'_>, (watched, live): &mut (Watched, Live)) {
    for _ in 0..worker.rng.between(1, 200) {
        if worker.rng.one_in(3)
            && let Some(held) = live.pop_any(&mut worker.rng)
        {
            worker.free(watched, held);
        } else {
            live.extend(worker.alloc(watched));
        }
    }
}
