//! Models of grace periods under loom, weak memory included: nobody reads what an updater reuses after its period. Each
//! claim is shown to fail on planted bugs.
//!
//! A membarrier is modelled by a fence on either side. Updaters try to end their period once and reuse what they took away
//! only if they did, so no model waits.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p haybarn --release --lib loom_rcu`.

use super::super::queue::{Head, Queue};
use super::*;
use crate::sync::Published;
use loom::cell::UnsafeCell;
use loom::sync::{Arc, Mutex};
use loom::thread;
use std::cell::Cell;

thread_local! {
    /// A callback has asked for what it cannot do itself: loom's cells are not for closures that are sent. The threads of a
    /// model are one thread to the system, and none is switched to before the asker's runner has seen it.
    static REUSES: Cell<bool> = const { Cell::new(false) };
    /// A period asked for a membarrier.
    static ASKED: Cell<bool> = const { Cell::new(false) };
}

struct Fences;

impl Platform for Fences {
    fn register() -> bool {
        false
    }
    fn fence_everybody() {}
}

/// The system has membarriers. A model of it is of periods that do without: what needs one does not go on.
struct Membarriers;

impl Platform for Membarriers {
    fn register() -> bool {
        true
    }
    fn fence_everybody() {
        ASKED.set(true);
    }
}

/// Two things that readers reach through a word each: 0 is the old object, 1 is none.
struct World {
    grace: Grace,
    records: [Record; 2],
    published: [Published; 2],
    /// What the old objects hold; loom reports an access that races.
    objects: [UnsafeCell<u32>; 2],
    callbacks: Mutex<Queue>,
}

impl World {
    fn new() -> Self {
        Self {
            grace: Grace::new(),
            records: [Record::new(), Record::new()],
            published: [Published::new(0), Published::new(0)],
            objects: [UnsafeCell::new(0), UnsafeCell::new(0)],
            callbacks: Mutex::new(Queue::new()),
        }
    }

    fn look(&self, which: usize) {
        if self.published[which].read() == 0 {
            self.objects[which].with(|_| ());
        }
    }

    /// A read section with the record `mine`.
    fn read(&self, mine: usize, which: &[usize]) {
        let record = &self.records[mine];
        record.enter(&self.grace.seq, &self.grace.sides);
        which.iter().for_each(|&which| self.look(which));
        record.leave();
    }

    /// The same without a record.
    fn read_in_crowd(&self, which: usize) {
        let crowd = self.grace.enter_crowd();
        self.look(which);
        self.grace.leave_crowd(crowd);
    }

    fn advance(&self, cookie: u64) -> bool {
        self.grace.advance::<Fences, _>(cookie, || self.records.iter(), None)
    }

    fn unpublish(&self, which: usize) -> u64 {
        self.published[which].publish(1);
        self.grace.cookie()
    }

    /// Takes an object away and, if its period is over at once, uses the memory for something else.
    fn update(&self, which: usize) {
        let cookie = self.unpublish(which);
        if self.advance(cookie) {
            self.reuse(which);
        }
    }

    fn reuse(&self, which: usize) {
        self.objects[which].with_mut(|_| ());
    }

    /// What the service thread and barriers do.
    fn run_callbacks(&self, end: u64, thread: usize) {
        loop {
            let head = self.callbacks.lock().expect("no panic").pop(&self.grace, end, thread);
            match head {
                Head::Empty => return,
                Head::Waits(cookie) => {
                    if !self.advance(cookie) {
                        return;
                    }
                }
                Head::Ready(number, callback) => {
                    callback();
                    if REUSES.take() {
                        self.reuse(0);
                    }
                    self.callbacks.lock().expect("no panic").ran(number, false);
                }
            }
        }
    }
}

type Work = fn(&Arc<World>);

/// Runs `works` at the same time, in every order that has at most `preemptions`, on a world that `begin` has prepared.
fn model<const N: usize>(preemptions: Option<usize>, begin: Work, works: [Work; N]) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(move || {
        let world = Arc::new(World::new());
        begin(&world);
        let others: Vec<_> = works[1..]
            .iter()
            .map(|&work| {
                let world = world.clone();
                thread::spawn(move || work(&world))
            })
            .collect();
        works[0](&world);
        others.into_iter().for_each(|other| other.join().expect("no panic"));
    });
}

fn idle(_: &Arc<World>) {}

/// A period that somebody has begun and nobody ended.
fn in_progress(world: &Arc<World>) {
    assert!(world.grace.seq.step(0));
}

fn reads(world: &Arc<World>) {
    world.read(0, &[0]);
}

fn updates(world: &Arc<World>) {
    world.update(0);
}

fn reader_against_updater() {
    model(None, idle, [updates, reads]);
    model(None, in_progress, [updates, reads]);
}

fn sections_in_a_row() {
    model(Some(3), idle, [updates, |world| (0..2).for_each(|_| world.read(0, &[0]))]);
}

fn nested_sections() {
    let nested: Work = |world| {
        world.records[0].enter(&world.grace.seq, &world.grace.sides);
        world.read(0, &[]);
        world.look(0);
        world.records[0].leave();
    };
    model(None, idle, [updates, nested]);
    model(None, in_progress, [updates, nested]);
}

fn two_updaters() {
    let other: Work = |world| world.update(1);
    model(Some(2), idle, [updates, other, |world| world.read(0, &[0, 1])]);
}

/// One updater's period is begun by somebody else, who knows nothing of what it took away.
fn begun_by_another() {
    let begins: Work = |world| {
        world.grace.seq.step(0);
    };
    model(Some(3), idle, [updates, begins, reads]);
}

fn cookies() {
    let polls: Work = |world| {
        let first = world.unpublish(0);
        let second = world.unpublish(1);
        assert!(second >= first, "cookies never fall");
        if world.advance(second) {
            assert!(world.grace.is_over(first), "a younger cookie is not over before an older one");
            world.reuse(0);
            world.reuse(1);
        } else if world.grace.is_over(first) {
            world.reuse(0);
        }
    };
    model(None, idle, [polls, |world| world.read(0, &[1, 0])]);
    model(None, in_progress, [polls, |world| world.read(0, &[1, 0])]);
}

fn crowd() {
    let reads: Work = |world| world.read_in_crowd(0);
    model(Some(3), idle, [updates, reads]);
    model(Some(3), in_progress, [updates, reads]);
    // A second period right after the first: the reader may have looked before the first one.
    let twice: Work = |world| {
        world.update(1);
        world.update(0);
    };
    model(Some(3), idle, [twice, reads]);
}

fn record_changes_hands() {
    let comes_and_goes: Work = |world| {
        let mine = usize::from(!world.records[0].claim(1, |_| false, 1));
        if mine == 0 || world.records[1].claim(1, |_| false, 1) {
            world.read(mine, &[0]);
            world.records[mine].release();
        }
    };
    model(Some(2), idle, [updates, comes_and_goes, comes_and_goes]);
}

/// A thread's first two sections against a period that may not know the thread yet and has no membarrier then.
fn unknown_reader() {
    let begin: Work = |world| {
        ASKED.set(false);
        assert!(world.grace.sides.settle(Membarriers::register));
    };
    let updates: Work = |world| {
        let cookie = world.unpublish(0);
        let mine = Some(&world.records[1]);
        if world.grace.advance::<Membarriers, _>(cookie, || world.records.iter(), mine) && !ASKED.get() {
            world.reuse(0);
        }
    };
    let first_reads: Work = |world| {
        let record = &world.records[0];
        assert!(record.claim(1, |_| false, 1));
        record.enter(&world.grace.seq, &world.grace.sides);
        world.grace.sides.first();
        world.look(0);
        record.leave();
        world.read(0, &[0]);
    };
    model(Some(4), begin, [updates, first_reads]);
    // The updater's own record needs none.
    let both: Work = |world| {
        assert!(world.records[1].claim(1, |_| false, 2));
        world.read(1, &[0]);
        let cookie = world.unpublish(0);
        let mine = Some(&world.records[1]);
        assert!(world.grace.advance::<Membarriers, _>(cookie, || world.records.iter(), mine) && !ASKED.get());
        world.reuse(0);
    };
    model(None, begin, [both]);
}

fn callback_and_barrier() {
    let calls: Work = |world| {
        world.published[0].publish(1);
        let end = {
            let mut queue = world.callbacks.lock().expect("no panic");
            queue.push(&world.grace, Box::new(|| REUSES.set(true)));
            queue.end()
        };
        world.run_callbacks(end, 1);
        if world.callbacks.lock().expect("no panic").have_run(end) {
            // The barrier has returned: what callbacks did is done.
            world.reuse(0);
        }
    };
    let serves: Work = |world| world.run_callbacks(u64::MAX, 2);
    model(Some(3), idle, [calls, serves]);
    model(Some(2), idle, [calls, serves, reads]);
}

#[test]
fn loom_rcu_reader_against_updater() {
    reader_against_updater();
}

#[test]
fn loom_rcu_sections_in_a_row() {
    sections_in_a_row();
}

#[test]
fn loom_rcu_nested_sections() {
    nested_sections();
}

#[test]
fn loom_rcu_two_updaters() {
    two_updaters();
}

#[test]
fn loom_rcu_period_begun_by_another() {
    begun_by_another();
}

#[test]
fn loom_rcu_cookies() {
    cookies();
}

#[test]
fn loom_rcu_crowd() {
    crowd();
}

#[test]
fn loom_rcu_record_changes_hands() {
    record_changes_hands();
}

#[test]
fn loom_rcu_unknown_reader() {
    unknown_reader();
}

#[test]
fn loom_rcu_callback_and_barrier() {
    callback_and_barrier();
}

/// Names a test for each planted bug, in which the model must see a race.
macro_rules! catches {
    ($($name:ident: $bug:ident in $model:ident;)*) => {
        $(
            #[test]
            #[should_panic(expected = "Causality violation")]
            fn $name() {
                Bug::$bug.plant($model);
            }
        )*
    };
}

catches! {
    loom_rcu_catches_no_membarrier: RcuNoMembarrier in reader_against_updater;
    loom_rcu_catches_no_reader_fence: RcuNoFence in reader_against_updater;
    loom_rcu_catches_an_unknown_reader_without_a_fence: RcuLateReader in unknown_reader;
    loom_rcu_unknown_reader_catches_no_fence: RcuNoMembarrier in unknown_reader;
    loom_rcu_catches_a_hidden_reader: RcuHiddenReader in reader_against_updater;
    loom_rcu_catches_a_weak_leave: RcuWeakLeave in reader_against_updater;
    loom_rcu_catches_no_scan: RcuNoScan in reader_against_updater;
    loom_rcu_catches_an_early_end: RcuEarlyEnd in reader_against_updater;
    loom_rcu_catches_a_weak_enter: RcuWeakEnter in sections_in_a_row;
    loom_rcu_crowd_catches_a_single_look: RcuCrowdOnce in crowd;
    loom_rcu_two_updaters_catch_an_early_end: RcuEarlyEnd in two_updaters;
    loom_rcu_cookies_catch_an_early_end: RcuEarlyEnd in cookies;
    loom_rcu_crowd_catches_no_scan: RcuNoScan in crowd;
    loom_rcu_crowd_catches_no_membarrier: RcuNoMembarrier in crowd;
    loom_rcu_catches_a_plain_cookie: RcuPlainCookie in begun_by_another;
    loom_rcu_catches_a_hasty_barrier: RcuHastyBarrier in callback_and_barrier;
    loom_rcu_callback_catches_no_scan: RcuNoScan in callback_and_barrier;
}
