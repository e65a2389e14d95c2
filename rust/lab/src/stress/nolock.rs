//! nolock: a timer interrupts every thread twenty thousand times a second, and its handler allocates and frees in the caches that
//! the thread is at.
#![forbid(unsafe_code)]

use super::field::CacheSpec;
use super::guest::{Guest, PATHS};
use super::interrupt::Ticker;
use super::live::Live;
use super::needs::Needs;
use super::scenario::{Scenario, Setup, Work};
use super::worker::Worker;
use crate::oracle::subject::Counter::{self, BarnGet, BarnPut, Drain, Flush, FreedSlab, NewSlab, Refill};
use crate::oracle::{Counters, Kind, Watched};
use crossbeam_utils::atomic::AtomicCell;
use std::time::Duration;

pub const SCENARIO: Scenario = Scenario {
    name: "nolock",
    about: "signal handlers that allocate and free in the caches of the threads that they interrupt, at 10 kHz and more",
    needs: Needs::everywhere(&[Refill, Flush, BarnGet, BarnPut, NewSlab, FreedSlab, Drain], &[]).sampling(&INSIDE),
    prepare: |setup: &Setup<'_>| {
        let caches = setup.caches("nolock", &SPECS)?;
        Ok(Box::new(Nolock { caches, seen: std::array::from_fn(|_| AtomicCell::new(0)) }))
    },
};

/// The counters of interrupts inside each slow path, in the order of `haybarn::slow_paths`.
const INSIDE: [Counter; PATHS] = Counter::INSIDE;
/// Twice as often as is wanted: interrupts that fall due while the thread waits for its CPU are one.
const PERIOD: Duration = Duration::from_micros(50);

const SPECS: [CacheSpec; 5] = [
    CacheSpec::counted(64).light(),
    CacheSpec::plain(256).light(),
    // Few objects to a sheaf, so that barn and flush are never far.
    CacheSpec::plain(1024).light(),
    CacheSpec::plain(128).light().bare(),
    // One to a slab: each comes with it and takes it along.
    CacheSpec::plain(LARGE).light().bare(),
];
const LARGE: usize = 20_000;
/// Which cache is next: so that all paths get their share of the time.
const OFTEN: [usize; 8] = [0, 1, 2, 2, 2, 3, 4, 4];

struct Nolock {
    caches: Vec<Watched>,
    /// Interrupts inside each path, all of them, and allocations in handlers that gave nothing.
    seen: [AtomicCell<u64>; PATHS + 2],
}

impl Work for Nolock {
    fn work(&self, worker: &mut Worker<'_>) {
        let guest = Guest::new(worker, &self.caches);
        let ticker = guest.as_ref().map(|guest| Ticker::start(guest, PERIOD)).transpose();
        let ticker = match ticker {
            Ok(ticker) => ticker,
            Err(why) => return worker.report_about(Kind::Lifetime, "nolock", 0, "a timer".into(), why),
        };
        let mut live = Live::default();
        while worker.go_on() {
            let cache = OFTEN[worker.rng.below(OFTEN.len())];
            self.step(worker, guest.as_ref(), cache, &mut live);
        }
        drop(ticker);
        let Some(guest) = &guest else { return };
        guest.report(worker);
        for (cache, watched) in self.caches.iter().enumerate() {
            live.extend(std::iter::from_fn(|| guest.take(cache)));
            worker.free_all(watched, &mut live);
        }
        worker.count(guest.ops.load());
        let counts = guest.inside.iter().chain([&guest.ticks, &guest.nothing]);
        self.seen.iter().zip(counts).for_each(|(sum, count)| {
            sum.fetch_add(count.load());
        });
    }

    fn into_caches(self: Box<Self>) -> Vec<Watched> {
        self.caches
    }

    fn ended(&self) -> Counters {
        Counters::read(|counter| match counter {
            Counter::Interrupts => self.seen[PATHS].load(),
            Counter::HandlerNone => self.seen[PATHS + 1].load(),
            _ => INSIDE.iter().position(|&inside| inside == counter).map_or(0, |path| self.seen[path].load()),
        })
    }
}

impl Nolock {
    /// Comes by every slow path: sets that cross sheaves, barn and slabs both ways, bulk calls, shrinks.
    fn step(&self, worker: &mut Worker<'_>, guest: Option<&Guest<'_>>, cache: usize, live: &mut Live) {
        let watched = &self.caches[cache];
        let most = if watched.subject.size() == LARGE { 80 } else { 400 };
        for _ in 0..8 {
            let n = worker.rng.between(most / 8, most);
            worker.churn(watched, n, false);
            // As many as its barn keeps.
            let n = worker.rng.between(most / 16, most / 4);
            worker.churn(watched, n, false);
            for _ in 0..32 {
                let n = worker.rng.between(1, 6);
                worker.churn(watched, n, true);
            }
        }
        let n = worker.rng.between(most / 4, most);
        for _ in 0..n {
            live.extend(worker.alloc(watched));
        }
        if let Some(guest) = guest {
            guest.report(worker);
            // Objects of either side end on the other.
            live.extend(guest.take(cache));
            if let Some(held) = live.pop_any(&mut worker.rng) {
                live.extend(guest.give(cache, held).err());
            }
        }
        // In any order, so that a flush meets many slabs. Half-way the lists of partial ones are long.
        let half = live.len() / 2;
        while worker.clean()
            && let Some(held) = live.pop_any(&mut worker.rng)
        {
            worker.free(watched, held);
            if live.len() == half {
                watched.subject.shrink();
            }
        }
        live.forget();
    }
}
