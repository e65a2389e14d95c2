//! fork: while all threads allocate and free, one forks; the child checks its copy, goes on and exits; so does the parent go on.
#![forbid(unsafe_code)]

use super::field::CacheSpec;
use super::live::Live;
use super::needs::Needs;
use super::platform::{self, End};
use super::scenario::{Scenario, Setup, Work};
use super::worker::Worker;
use crate::oracle::subject::Counter::{BarnPut, NewSlab, Refill};
use crate::oracle::{Kind, Watched};
use std::time::Duration;

pub const SCENARIO: Scenario = Scenario {
    name: "fork",
    about: "forks in the middle of the work; children check their copy, allocate, free, shrink and exit",
    needs: Needs::everywhere(&[Refill, BarnPut, NewSlab], &[]),
    prepare: |setup: &Setup<'_>| Ok(Box::new(Fork { caches: setup.caches("fork", &SPECS)? })),
};

const SPECS: [CacheSpec; 2] = [CacheSpec::plain(100), CacheSpec::counted(2048)];
const MOST: usize = 500;
/// A child does some milliseconds of work; one that needs this long hangs.
const PATIENCE: Duration = Duration::from_secs(20);
/// The exit code of a child that saw a violation is this plus the violation's kind.
const VIOLATION: i32 = 100;

struct Fork {
    caches: Vec<Watched>,
}

impl Work for Fork {
    fn work(&self, worker: &mut Worker<'_>) {
        let mut live: Vec<Live> = self.caches.iter().map(|_| Live::default()).collect();
        while worker.go_on() {
            for _ in 0..8 {
                self.step(worker, &mut live, 250);
            }
            if worker.index == 0 && worker.clean() {
                self.fork(worker, &mut live);
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

impl Fork {
    fn step(&self, worker: &mut Worker<'_>, live: &mut [Live], ops: usize) {
        let index = worker.rng.below(self.caches.len());
        let (watched, live) = (&self.caches[index], &mut live[index]);
        for _ in 0..ops {
            let free = live.len() >= MOST || worker.rng.one_in(2);
            match live.pop_any(&mut worker.rng) {
                Some(held) if free => worker.free(watched, held),
                kept => {
                    live.extend(kept);
                    live.extend(worker.alloc(watched));
                }
            }
        }
    }

    fn fork(&self, worker: &mut Worker<'_>, live: &mut [Live]) {
        let end = platform::fork_and_wait(PATIENCE, || self.child(worker, live));
        let seen = match end {
            End::Exited(0) => return,
            End::Exited(code) => match usize::try_from(code - VIOLATION).ok().and_then(|kind| Kind::ALL.get(kind)) {
                Some(kind) => format!("one that saw a violation: {}", kind.name()),
                None => format!("exit code {code}"),
            },
            End::Signal(signal) => format!("one that died of signal {signal}"),
            End::Hung => format!("none within {} seconds", PATIENCE.as_secs()),
            End::NotForked(error) => format!("no fork: {}", std::io::Error::from_raw_os_error(error)),
        };
        worker.report(Kind::Child, &self.caches[0], 0, "a child that exits with code 0".into(), seen);
    }

    /// The child's life. The other threads are gone, each stopped at any instruction; what they held stays as it was.
    fn child(&self, worker: &mut Worker<'_>, live: &mut [Live]) -> i32 {
        worker.ledger.hush();
        for (watched, live) in self.caches.iter().zip(&*live) {
            for held in live.iter() {
                worker.inspect(watched, held);
            }
        }
        for _ in 0..4 {
            self.step(worker, live, 250);
        }
        for (watched, live) in self.caches.iter().zip(live) {
            watched.subject.shrink();
            live.extend(worker.alloc(watched));
            worker.free_all(watched, live);
        }
        worker.ledger.first().map_or(0, |kind| VIOLATION + kind as i32)
    }
}
