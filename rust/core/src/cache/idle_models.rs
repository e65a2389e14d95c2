//! Looks for CPUs that nobody uses, the real code under shuttle: who is drained and who is not, and that nothing is lost or handed
//! out twice when an owner comes back in the middle of it. What the looks rely on is modelled in `percpu/idle_models.rs`.

use super::idle;
use super::shuttle_tests::{SCHEDULES, SMALL, Work, Worker, arena, churns, fills_and_empties, runner, scenario_with};
use super::{AllocFlags, CacheArgs, RawCache};
use crate::percpu::set_virtual_cpu;
use crate::stats::Stat;
use crate::sync::{Bug, Counter};
use shuttle::scheduler::{PctScheduler, RandomScheduler};

/// Drains by looks, in all schedules.
static DRAINED: Counter = Counter::new();

fn looks(worker: &mut Worker) {
    let before = worker.cache.stats().get(Stat::Drain);
    for _ in 0..4 {
        worker.on_cpu();
        idle::look(worker.cache.header());
    }
    DRAINED.add(worker.cache.stats().get(Stat::Drain) - before);
}

#[test]
fn shuttle_idle_looks_under_load() {
    let arena = arena();
    let works: [Work; 3] = [fills_and_empties, churns, looks];
    let run = move || scenario_with(arena, SMALL, works, CacheArgs::default());
    runner(RandomScheduler::new(SCHEDULES)).run(run);
    runner(PctScheduler::new(3, SCHEDULES)).run(run);
    assert!(DRAINED.get() > 0, "no look ever drained a CPU");
}

fn uses(cache: RawCache, cpu: u32) {
    set_virtual_cpu(Some(cpu));
    let objects: Vec<_> = (0..6).map(|_| cache.alloc(AllocFlags::empty()).expect("memory")).collect();
    for object in objects {
        // SAFETY: allocated just now.
        unsafe { cache.free(object) };
    }
}

/// Two CPUs, one of which is used between two looks: the other is drained by the second, this one by the third.
fn one_rests() {
    let args = CacheArgs { sheaf_capacity: 4, count_hits: true, ..CacheArgs::default() };
    let cache = RawCache::create(arena(), "idle", SMALL, &args).expect("a cache");
    let held = || {
        let held = |cpu: i32| super::slabs::At::new(cache.header()).fingerprint(cpu) != 0;
        (held(0), held(1))
    };
    uses(cache, 0);
    uses(cache, 1);
    let some_left = idle::look(cache.header());
    assert_eq!(held(), (true, true), "a CPU was drained that was used since the last look");
    assert!(some_left, "both hold objects");
    set_virtual_cpu(Some(0));
    let kept = cache.alloc_counted(AllocFlags::empty()).expect("memory");
    assert!(idle::look(cache.header()), "one holds objects still");
    assert_eq!(held(), (true, false), "who rested is drained, and nobody else");
    assert!(!idle::look(cache.header()), "nothing is left");
    assert_eq!(held(), (false, false));
    // SAFETY: allocated above, and the cache is not used any more.
    unsafe {
        cache.free_counted(kept);
        cache.destroy().expect("nothing is in use");
    }
}

#[test]
fn shuttle_idle_look_drains_who_rests() {
    one_rests();
}

#[test]
#[should_panic(expected = "used since the last look")]
fn shuttle_idle_look_catches_a_hasty_one() {
    Bug::HastyLook.plant(one_rests);
}
