//! typesafe: look-ups without a lock in a hash table whose nodes come from a type-safe cache.
//!
//! The table is the worked example of docs/typesafe.md, text and all. The oracle looks at it from two sides: an entry that was
//! found has the value of the key that was looked for, and whatever a reader comes by on its way, free or not, is a node.
#![forbid(unsafe_code)]

use super::field::CacheSpec;
use super::live::Live;
use super::needs::Needs;
use super::scenario::{Scenario, Setup, Work};
use super::table::{self, Found, MARK, Table, Watching, key, value_of};
use super::worker::Worker;
use crate::oracle::subject::Counter::{Drain, NewSlab, ReapedSlab, Refill};
use crate::oracle::{Kind, Watched};

pub const SCENARIO: Scenario = scenario::<true>("typesafe");

/// The same with look-ups that do not look again once they have a reference: the oracle must see it. Not among the scenarios.
pub const WITHOUT_RECHECK: Scenario = scenario::<false>("typesafe-without-recheck");

const fn scenario<const RECHECK: bool>(name: &'static str) -> Scenario {
    Scenario {
        name,
        about: "lock-free look-ups in a hash table while its nodes are freed, used anew, and their slabs die",
        needs: Needs::everywhere(&[Refill, NewSlab, Drain, ReapedSlab], &[]),
        prepare: |setup: &Setup<'_>| {
            let mut caches = setup.caches("table", &SPECS)?.into_iter();
            let (Some(nodes), Some(plain)) = (caches.next(), caches.next()) else { return Err("no caches".into()) };
            Ok(Box::new(Typesafe { table: Table::new(Watching::<RECHECK>::new(nodes), BUCKETS), plain }))
        },
    }
}

const SPECS: [CacheSpec; 2] = [
    table::SPEC,
    // Slabs of the same order, so that pages go from one to the other; every byte of an object is stamped.
    CacheSpec::plain(64),
];

const BUCKETS: usize = 512;
/// Keys that the threads fight for, and keys in all.
const HOT: usize = 64;
const KEYS: usize = 8192;
/// Entries that a thread keeps a reference to for a while.
const KEPT: usize = 16;

struct Typesafe<const RECHECK: bool> {
    table: Table<Watching<RECHECK>>,
    plain: Watched,
}

impl<const RECHECK: bool> Work for Typesafe<RECHECK> {
    fn work(&self, worker: &mut Worker<'_>) {
        let mut kept = Vec::with_capacity(KEPT);
        while worker.go_on() {
            match worker.rng.below(256) {
                0 => self.fill_and_empty(worker),
                1 => self.write_pages(worker),
                2 => {
                    self.table.nodes().watched.subject.shrink();
                }
                3..64 => self.change(worker),
                _ => self.look_up(worker, &mut kept),
            }
            if worker.rng.one_in(512) {
                worker.hop();
            }
        }
        if !worker.clean() {
            // What is wrong may crash who goes on.
            std::mem::forget(kept);
        }
    }

    fn settle(&self, worker: &mut Worker<'_>) {
        worker.count(self.table.clear() as u64);
    }

    fn into_caches(self: Box<Self>) -> Vec<Watched> {
        vec![self.table.into_nodes().watched, self.plain]
    }
}

impl<const RECHECK: bool> Typesafe<RECHECK> {
    fn any_key(worker: &mut Worker<'_>) -> u64 {
        let below = if worker.rng.one_in(2) { HOT } else { KEYS };
        key(worker.rng.below(below))
    }

    fn insert(&self, worker: &mut Worker<'_>, key: u64) {
        worker.count(1);
        if self.table.insert(key, value_of(key)).is_err() {
            worker.refused_by(&self.table.nodes().watched, || "a node".into());
        }
    }

    fn remove(&self, worker: &mut Worker<'_>, key: u64) {
        worker.count(1);
        self.table.remove(key);
    }

    /// Out with one key, in with another: the node of the one becomes the other's.
    fn change(&self, worker: &mut Worker<'_>) {
        let (old, new) = (Self::any_key(worker), Self::any_key(worker));
        self.remove(worker, old);
        self.insert(worker, new);
    }

    /// Whole slabs of nodes come and go.
    fn fill_and_empty(&self, worker: &mut Worker<'_>) {
        let from = worker.rng.below(KEYS);
        let keys = from..(from + 2000).min(KEYS);
        keys.clone().for_each(|n| self.insert(worker, key(n)));
        keys.for_each(|n| self.remove(worker, key(n)));
    }

    /// Somebody else's objects, stamped all over: they lie where slabs of nodes lay.
    fn write_pages(&self, worker: &mut Worker<'_>) {
        let mut live = Live::default();
        worker.alloc_bulk(&self.plain, 500, &mut live);
        worker.free_all(&self.plain, &mut live);
        self.plain.subject.shrink();
    }

    fn look_up<'t>(&'t self, worker: &mut Worker<'_>, kept: &mut Vec<Found<'t, Watching<RECHECK>>>) {
        let wanted = Self::any_key(worker);
        worker.count(1);
        let found = self.table.get(wanted);
        if let Some(key) = self.table.nodes().strayed() {
            return self.report(
                worker,
                Kind::NotTyped,
                format!("keys that begin with {MARK:#x}"),
                format!("{key:#018x}"),
            );
        }
        let Some(found) = found else { return };
        self.inspect(worker, &found, wanted);
        if kept.len() == KEPT {
            let old = kept.swap_remove(worker.rng.below(KEPT));
            self.inspect(worker, &old, old.key());
        }
        kept.push(found);
    }

    fn inspect(&self, worker: &Worker<'_>, found: &Found<'_, Watching<RECHECK>>, wanted: u64) {
        let (key, value) = (found.key(), found.value());
        if key != wanted || value != value_of(wanted) {
            let expected = format!("key {wanted:#x}, value {:#018x}", value_of(wanted));
            self.report(worker, Kind::AnotherObject, expected, format!("key {key:#x}, value {value:#018x}"));
        }
    }

    fn report(&self, worker: &Worker<'_>, kind: Kind, expected: String, seen: String) {
        worker.report(kind, &self.table.nodes().watched, 0, expected, seen);
    }
}
