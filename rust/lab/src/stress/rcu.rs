//! rcu: readers look objects up in a shared table and read them as long as they like; writers replace them and free the old
//! ones after a grace period. Without one a reader finds another's stamp.
#![forbid(unsafe_code)]

use super::field::CacheSpec;
use super::held::Held;
use super::needs::Needs;
use super::scenario::{Scenario, Setup, Work};
use super::worker::Worker;
use crate::oracle::subject::Counter::{CasFail, DrainRetry, NewSlab, RcuDone, RcuSheaf, Refill};
use crate::oracle::{Kind, Watched};
use crossbeam_utils::atomic::AtomicCell;
use haybarn::rcu;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Two nodes on `virtual` make loose batches, with more than one thread: what one frees there was often another's.
pub const SCENARIO: Scenario = Scenario {
    name: "rcu",
    about: "readers look objects up without a lock while writers replace them and free the old ones after a grace period",
    needs: Needs {
        rseq: &[Refill, NewSlab, RcuSheaf, RcuDone],
        locked: &[Refill, NewSlab, RcuSheaf, RcuDone],
        virtual_cpus: &[Refill, NewSlab, RcuSheaf, RcuDone],
        among: &[],
        races: &[CasFail, DrainRetry],
        sampled: &[],
    },
    prepare: |setup: &Setup<'_>| {
        let caches = setup.caches("rcu", &SPECS)?;
        if caches.iter().any(|watched| watched.subject.deferred().is_none()) {
            return Err("this allocator does not free after a grace period".into());
        }
        let tables = caches.iter().map(|_| (0..PLACES).map(|_| Place::default()).collect()).collect();
        let leftover = caches.iter().map(|_| Mutex::default()).collect();
        Ok(Box::new(Rcu { caches, tables, leftover }))
    },
};

const SPECS: [CacheSpec; 4] =
    [CacheSpec::plain(64), CacheSpec::counted(96), CacheSpec::plain(512).aligned(512), CacheSpec::plain(4096)];
/// Few, so that readers and writers meet.
const PLACES: usize = 64;
/// Objects of a cache that may wait at a time. With readers that leave, frees keep it at four batches (some ten thousand small
/// objects); a reader whose thread does not run for long lets more come, slowly.
const BOUND: u64 = 400_000;

/// What is published, and its handle. Readers look at the address alone.
#[derive(Default)]
struct Place {
    address: AtomicCell<usize>,
    held: Mutex<Option<Held>>,
}

impl Place {
    /// Publishes `new`; the one that it takes the place of.
    fn replace(&self, new: Option<Held>) -> Option<Held> {
        let mut held = lock(&self.held);
        self.address.store(new.as_ref().map_or(0, |held| held.object().as_ptr().expose_provenance()));
        std::mem::replace(&mut held, new)
    }
}

struct Rcu {
    caches: Vec<Watched>,
    tables: Vec<Vec<Place>>,
    /// For each cache what a free in a read section was refused for: readers may look at it still, so only a free after a grace
    /// period will do.
    leftover: Vec<Mutex<Vec<Held>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Work for Rcu {
    fn work(&self, worker: &mut Worker<'_>) {
        while worker.go_on() {
            let n = worker.rng.below(self.caches.len());
            let (watched, table, leftover) = (&self.caches[n], &self.tables[n], &self.leftover[n]);
            for _ in 0..worker.rng.between(1, 32) {
                if worker.rng.one_in(2) {
                    read(worker, watched, table, leftover);
                } else {
                    let more = std::mem::take(&mut *lock(leftover));
                    write(worker, watched, table, more, leftover);
                }
            }
            if worker.rng.one_in(64) {
                now_and_then(worker, watched);
            }
        }
    }

    fn settle(&self, worker: &mut Worker<'_>) {
        for ((watched, table), leftover) in self.caches.iter().zip(&self.tables).zip(&self.leftover) {
            let published = table.iter().filter_map(|place| place.replace(None));
            let rest: Vec<_> = published.chain(std::mem::take(&mut *lock(leftover))).collect();
            worker.free_rcu(watched, rest);
            let Some(deferred) = watched.subject.deferred() else { continue };
            deferred.barrier();
            if deferred.pending() != 0 {
                let seen = format!("{} still wait", deferred.pending());
                worker.report(Kind::Conservation, watched, 0, "everything free after a barrier".into(), seen);
            }
        }
    }

    fn into_caches(self: Box<Self>) -> Vec<Watched> {
        self.caches
    }
}

/// A section with some look-ups, which looks at each object twice, with other things in between.
fn read(worker: &mut Worker<'_>, watched: &Watched, table: &[Place], leftover: &Mutex<Vec<Held>>) {
    let section = rcu::read_lock();
    let mut found = Vec::new();
    for _ in 0..worker.rng.between(1, 8) {
        let place = &table[worker.rng.below(table.len())];
        found.extend(worker.look(watched, place.address.load(), &section));
    }
    if worker.rng.one_in(16) {
        // A long look: frees of others go on meanwhile.
        std::thread::yield_now();
    }
    if worker.rng.one_in(32) {
        // Inside a section frees never wait.
        write(worker, watched, table, Vec::new(), leftover);
    }
    for found in found {
        worker.look_again(watched, found, &section);
    }
}

/// Replaces an object, or several at once, and frees what was there and `old`.
fn write(worker: &mut Worker<'_>, watched: &Watched, table: &[Place], mut old: Vec<Held>, leftover: &Mutex<Vec<Held>>) {
    let count = if worker.rng.one_in(8) { worker.rng.between(2, 16) } else { 1 };
    for _ in 0..count {
        if let Some(new) = worker.alloc(watched) {
            old.extend(table[worker.rng.below(table.len())].replace(Some(new)));
        }
    }
    if old.is_empty() || !worker.clean() {
        return;
    }
    let refused = worker.free_rcu(watched, old);
    lock(leftover).extend(refused);
}

fn now_and_then(worker: &mut Worker<'_>, watched: &Watched) {
    let Some(deferred) = watched.subject.deferred() else { return };
    if deferred.pending() > BOUND {
        let seen = format!("{} wait", deferred.pending());
        worker.report(Kind::Conservation, watched, 0, format!("at most {BOUND} objects that wait for readers"), seen);
    }
    match worker.rng.below(8) {
        0 => deferred.barrier(),
        1 => drop(watched.subject.shrink()),
        2 => rcu::barrier().expect("outside of sections and callbacks"),
        _ => worker.hop(),
    }
}
