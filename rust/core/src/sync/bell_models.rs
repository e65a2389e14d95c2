//! Models of the bell under loom, with what the service does around it: no ring is lost, whoever sleeps, leaves or is started
//! meanwhile. A sleep is the system's: it looks at the word and goes to sleep under a lock that a waker takes.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p haybarn --release --lib loom_bell`.

use super::super::Counter;
use super::{Bell, Rung};
use crate::sync::Bug;
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

struct World {
    bell: Bell,
    /// The system's: who sleeps beside the word.
    bucket: Mutex<()>,
    /// Nobody rings any more: who sleeps goes. Changed under that lock.
    over: Counter,
    woken: Condvar,
    /// The service's lock: whether a thread is there.
    running: Mutex<bool>,
    /// Things asked for, and how many of them the thread has seen when it looked.
    asked: Counter,
    seen: Mutex<u64>,
    has_seen: Condvar,
}

impl World {
    fn new(with_thread: bool) -> Arc<Self> {
        let bell = Bell::new();
        if with_thread {
            bell.arrive();
        }
        Arc::new(Self {
            bell,
            bucket: Mutex::new(()),
            over: Counter::new(),
            woken: Condvar::new(),
            running: Mutex::new(with_thread),
            asked: Counter::new(),
            seen: Mutex::new(0),
            has_seen: Condvar::new(),
        })
    }

    /// False if nothing will wake it any more.
    fn sleep(&self) -> bool {
        if !self.bell.doze() {
            return true;
        }
        let mut bucket = self.bucket.lock().expect("no panic");
        while self.bell.value() == Bell::SLEEPING {
            if self.over.get() > 0 {
                return false;
            }
            bucket = self.woken.wait(bucket).expect("no panic");
        }
        drop(bucket);
        self.bell.rise();
        true
    }

    fn wake(&self) {
        drop(self.bucket.lock().expect("no panic"));
        self.woken.notify_all();
    }

    /// What a signal handler does; false where there is no thread.
    fn rings(&self) -> bool {
        self.asked.add(1);
        match self.bell.ring() {
            Rung::Asleep => self.wake(),
            Rung::Coming => {}
            Rung::Nobody => return false,
        }
        true
    }

    /// What everybody else does: a thread is started where there is none.
    fn kicks(world: &Arc<Self>) -> Option<thread::JoinHandle<()>> {
        if world.rings() {
            return None;
        }
        let mut running = world.running.lock().expect("no panic");
        (!core::mem::replace(&mut *running, true)).then(|| {
            let world = world.clone();
            world.bell.arrive();
            thread::spawn(move || world.serves())
        })
    }

    fn serves(&self) {
        while !self.bell.is_to_quit() {
            if self.bell.hear() {
                *self.seen.lock().expect("no panic") = self.asked.get();
                self.has_seen.notify_all();
            } else if !self.sleep() {
                break;
            }
        }
        let mut running = self.running.lock().expect("no panic");
        self.bell.leave();
        *running = false;
    }

    fn stops(&self) {
        let running = self.running.lock().expect("no panic");
        if *running && self.bell.tell_to_quit() {
            self.wake();
        }
    }

    /// At the end: what was asked for was seen, or the bell is still rung for the next thread.
    fn check(&self) {
        let seen = *self.seen.lock().expect("no panic");
        assert!(seen == self.asked.get() || self.bell.is_rung(), "a ring was lost");
    }

    fn wait_until_seen(&self, asked: u64) {
        let mut seen = self.seen.lock().expect("no panic");
        while *seen != asked {
            seen = self.has_seen.wait(seen).expect("no panic");
        }
    }
}

fn model(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(4);
    builder.check(body);
}

/// Rings while the thread goes to sleep: it does not sleep with that unheard.
fn ringer_against_sleeper() {
    model(|| {
        let world = World::new(true);
        let served = world.clone();
        let thread = thread::spawn(move || served.serves());
        assert!(world.rings());
        world.over.add(1);
        world.wake();
        thread.join().expect("no panic");
        world.check();
    });
}

/// The same, and it is woken: only then it is told to leave.
fn ringer_wakes_sleeper() {
    model(|| {
        let world = World::new(true);
        let served = world.clone();
        let thread = thread::spawn(move || served.serves());
        assert!(world.rings());
        world.wait_until_seen(1);
        world.stops();
        thread.join().expect("no panic");
        world.check();
    });
}

fn ringers_against_leaver() {
    model(|| {
        let world = World::new(true);
        let (served, other) = (world.clone(), world.clone());
        let thread = thread::spawn(move || served.serves());
        let ringer = thread::spawn(move || {
            other.rings();
        });
        world.stops();
        ringer.join().expect("no panic");
        thread.join().expect("no panic");
        world.check();
    });
}

fn kickers_and_a_start() {
    model(|| {
        let world = World::new(false);
        let other = world.clone();
        let kicker = thread::spawn(move || World::kicks(&other));
        let mine = World::kicks(&world);
        let theirs = kicker.join().expect("no panic");
        let started = mine.into_iter().chain(theirs).collect::<Vec<_>>();
        assert_eq!(started.len(), 1, "one thread is started");
        world.wait_until_seen(2);
        world.stops();
        started.into_iter().for_each(|thread| thread.join().expect("no panic"));
        world.check();
    });
}

#[test]
fn loom_bell_ringer_against_sleeper() {
    ringer_against_sleeper();
}

#[test]
fn loom_bell_ringer_wakes_sleeper() {
    ringer_wakes_sleeper();
}

#[test]
fn loom_bell_ringers_against_leaver() {
    ringers_against_leaver();
}

#[test]
fn loom_bell_kickers_and_a_start() {
    kickers_and_a_start();
}

#[test]
#[should_panic(expected = "a ring was lost")]
fn loom_bell_catches_a_deaf_sleeper() {
    Bug::DeafSleeper.plant(ringer_against_sleeper);
}

#[test]
#[should_panic(expected = "a ring was lost")]
fn loom_bell_catches_a_deaf_leaver() {
    Bug::DeafLeaver.plant(ringers_against_leaver);
}
