//! The real cache, memory layout and all, under shuttle: thousands of schedules of three threads on the virtual backend, each
//! atomic step a place to switch. What shuttle finds it prints as a schedule that replays.
//!
//! Run with `RUSTFLAGS="--cfg shuttle" cargo test -p haybarn --release --lib shuttle_`.

use super::{AllocFlags, Arena, ArenaConfig, CacheArgs, RawCache, RawPrefilled};
use crate::percpu::{BackendKind, set_virtual_cpu};
use crate::stats::Stat;
use crate::sync::{Bug, Counter, scheduled};
use core::ptr::NonNull;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use std::collections::HashSet;

/// An arena for all schedules of a test, since it is never unmapped.
pub(super) fn arena() -> &'static Arena {
    let backend = Some(BackendKind::Virtual);
    let config = ArenaConfig { backend, cpus: Some(2), reserve: 64 << 20, ..ArenaConfig::default() };
    Arena::create(config).expect("64 MiB of address range")
}

/// A thread of a scenario: which CPU it is on, and what it holds.
pub(super) struct Worker {
    pub(super) cache: RawCache,
    cpu: u32,
    held: Vec<NonNull<u8>>,
}

impl Worker {
    /// Every task is the same thread to the system, so each step names its CPU anew; no atomic step comes between this and
    /// where the call reads it, except after a switch inside the call, which a thread that migrates may see as well.
    pub(super) fn on_cpu(&self) {
        set_virtual_cpu(Some(self.cpu));
    }

    fn alloc(&mut self) {
        self.on_cpu();
        let object = self.cache.alloc(AllocFlags::empty()).expect("memory");
        // SAFETY: the object is ours, and larger than this.
        unsafe { object.cast::<usize>().add(1).write(object.as_ptr().addr()) };
        self.held.push(object);
    }

    fn free(&mut self) {
        if let Some(object) = self.held.pop() {
            // SAFETY: the object is ours until the free.
            let mark = unsafe { object.cast::<usize>().add(1).read() };
            assert_eq!(mark, object.as_ptr().addr(), "somebody else wrote to an object in use");
            self.on_cpu();
            // SAFETY: as above.
            unsafe { self.cache.free(object) };
        }
    }

    fn prefill(&mut self, n: usize) -> RawPrefilled {
        self.on_cpu();
        self.cache.prefill(AllocFlags::empty(), n).expect("memory")
    }

    fn take(&mut self, sheaf: &mut RawPrefilled) {
        let object = sheaf.alloc(AllocFlags::empty()).expect("it was set aside");
        // SAFETY: the object is ours, and larger than this.
        unsafe { object.cast::<usize>().add(1).write(object.as_ptr().addr()) };
        self.held.push(object);
    }

    fn give_back(&mut self, sheaf: RawPrefilled) {
        self.on_cpu();
        drop(sheaf);
    }

    pub(super) fn shrink(&mut self) {
        self.on_cpu();
        let _released = self.cache.shrink();
    }
}

pub(super) type Work = fn(&mut Worker);

/// Sheaves of four objects, slabs of eight: every path comes up within a few steps. Worker n is on CPU n % 2.
fn scenario(arena: &'static Arena, size: usize, works: [Work; 3]) {
    scenario_with(arena, size, works, CacheArgs::default());
}

/// The same with a cache of these arguments.
pub(super) fn scenario_with(arena: &'static Arena, size: usize, works: [Work; 3], args: CacheArgs) {
    scheduled(move || one_schedule(arena, size, works, args));
}

fn one_schedule(arena: &'static Arena, size: usize, works: [Work; 3], args: CacheArgs) {
    set_virtual_cpu(None);
    let args = CacheArgs { sheaf_capacity: 4, count_hits: true, ..args };
    let cache = RawCache::create(arena, "shuttle", size, &args).expect("a cache");
    let works = works.into_iter().zip(0..).map(|(work, n)| {
        shuttle::thread::spawn(move || {
            let mut worker = Worker { cache, cpu: n % 2, held: vec![] };
            work(&mut worker);
            worker.held.into_iter().map(|object| object.as_ptr().addr()).collect::<Vec<_>>()
        })
    });
    let works: Vec<_> = works.collect();
    let mut held = vec![];
    for work in works {
        held.extend(work.join().expect("no panic"));
    }
    set_virtual_cpu(None);
    BARN_FULL.add(cache.stats().get(Stat::BarnPutFail));
    assert_eq!(held.iter().collect::<HashSet<_>>().len(), held.len(), "an object has two owners");
    cache.validate().expect("whole free lists");
    let stats = cache.stats();
    assert_eq!(stats.objects, held.len() as u64, "the books do not balance");
    assert_eq!((stats.prefilled, stats.in_prefilled), (0, 0), "a sheaf went out and did not come back");
    for object in held {
        let object = NonNull::new(core::ptr::with_exposed_provenance_mut(object)).expect("an object");
        // SAFETY: the threads gave us what they held.
        unsafe { cache.free(object) };
    }
    // SAFETY: all threads have been joined, and the handle ends here.
    unsafe { cache.destroy() }.expect("nothing is in use");
}

pub(super) const SCHEDULES: usize = 5_000;
/// Times that a free found a full barn and flushed.
static BARN_FULL: Counter = Counter::new();

pub(super) const SMALL: usize = 512;
/// Ten full sheaves of these are all that a barn takes.
const LARGE: usize = 4096;

fn explore(schedules: usize, size: usize, works: [Work; 3]) {
    let arena = arena();
    runner(RandomScheduler::new(schedules)).run(move || scenario(arena, size, works));
    runner(PctScheduler::new(3, schedules)).run(move || scenario(arena, size, works));
}

/// The same schedules every time: what a planted bug does must not depend on luck.
fn explore_known(size: usize, works: [Work; 3]) {
    let arena = arena();
    runner(RandomScheduler::new_from_seed(6, SCHEDULES)).run(move || scenario(arena, size, works));
    runner(PctScheduler::new_from_seed(6, 3, SCHEDULES)).run(move || scenario(arena, size, works));
}

pub(super) fn runner<S: Scheduler + 'static>(scheduler: S) -> shuttle::Runner<S> {
    let mut config = shuttle::Config::new();
    // Formatting an error takes more than the 32 KiB that tasks have by default.
    config.stack_size = 256 << 10;
    shuttle::Runner::new(scheduler, config)
}

pub(super) fn churns(worker: &mut Worker) {
    for _ in 0..6 {
        worker.alloc();
    }
    for _ in 0..5 {
        worker.free();
    }
    worker.alloc();
}

pub(super) fn fills_and_empties(worker: &mut Worker) {
    for _ in 0..11 {
        worker.alloc();
    }
    for _ in 0..11 {
        worker.free();
    }
}

fn takes_a_crowd(worker: &mut Worker) {
    for _ in 0..32 {
        worker.alloc();
    }
    for _ in 0..32 {
        worker.free();
    }
}

/// Two sheaves out, so that the spare is taken, found taken, given back and found given back.
fn sets_aside(worker: &mut Worker) {
    let mut first = worker.prefill(3);
    let mut second = worker.prefill(2);
    worker.take(&mut first);
    worker.take(&mut second);
    worker.free();
    worker.give_back(first);
    worker.take(&mut second);
    worker.give_back(second);
    worker.free();
}

/// An oversize one, which takes from the CPU's sheaves too.
fn sets_many_aside(worker: &mut Worker) {
    let mut sheaf = worker.prefill(9);
    for _ in 0..9 {
        worker.take(&mut sheaf);
    }
    worker.give_back(sheaf);
    for _ in 0..8 {
        worker.free();
    }
}

pub(super) fn shrinks(worker: &mut Worker) {
    worker.alloc();
    worker.shrink();
    worker.free();
    worker.shrink();
}

#[test]
fn shuttle_cache_churn() {
    explore(SCHEDULES, SMALL, [churns, churns, churns]);
}

#[test]
fn shuttle_cache_through_the_barn() {
    explore(SCHEDULES, SMALL, [fills_and_empties, churns, fills_and_empties]);
}

#[test]
fn shuttle_cache_through_flushes() {
    explore(SCHEDULES / 2, LARGE, [takes_a_crowd, churns, takes_a_crowd]);
    assert_ne!(BARN_FULL.get(), 0, "no schedule came to a flush");
}

#[test]
fn shuttle_cache_shrink_under_load() {
    explore(SCHEDULES, SMALL, [fills_and_empties, churns, shrinks]);
}

#[test]
fn shuttle_cache_shrinks_meet() {
    explore(SCHEDULES, SMALL, [churns, shrinks, shrinks]);
}

/// What breaks free lists may end the process before it breaks an assertion: so it happens in one of its own, which runs this test.
#[test]
fn shuttle_cache_catches_reuse_while_listed() {
    const PLANTED: &str = "HAYBARN_PLANTED";
    if std::env::var_os(PLANTED).is_some() {
        return Bug::ReuseListed.plant(|| explore_known(SMALL, [fills_and_empties, churns, shrinks]));
    }
    let tests = std::env::current_exe().expect("a path");
    let mut child = std::process::Command::new(tests);
    child.args(["--exact", "cache::shuttle_tests::shuttle_cache_catches_reuse_while_listed"]).env(PLANTED, "1");
    let done = child.output().expect("a process");
    let printed = String::from_utf8_lossy(&done.stdout);
    assert!(printed.contains("running 1 test"), "no such test: {printed}");
    assert!(!done.status.success(), "the bug was not caught: {printed}");
}

#[test]
fn shuttle_cache_prefills_meet() {
    explore(SCHEDULES, LARGE, [sets_aside, sets_aside, sets_aside]);
}

#[test]
fn shuttle_cache_prefill_against_frees_and_shrinks() {
    explore(SCHEDULES, LARGE, [sets_aside, fills_and_empties, shrinks]);
}

#[test]
fn shuttle_cache_prefill_of_many() {
    explore(SCHEDULES, LARGE, [sets_many_aside, sets_aside, churns]);
}

#[test]
#[should_panic]
fn shuttle_cache_catches_a_spare_that_was_not_won() {
    Bug::UnwonSpare.plant(|| explore_known(LARGE, [sets_aside, sets_aside, sets_aside]));
}
