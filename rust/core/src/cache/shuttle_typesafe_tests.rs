//! A type-safe cache under shuttle: objects are shown, hidden and freed, their slabs die, another cache gets the pages and writes
//! them all over, and a reader looks at whatever is shown.
//!
//! What the reader finds wrong is said when all tasks are done: shuttle cannot clear up tasks that are in the middle of a call.
//!
//! One task reads: to the library all tasks are one thread, with one reader's record. There is no service thread here.

use super::shuttle_tests::{SCHEDULES, arena, runner};
use super::{AllocFlags, Arena, CacheArgs, RawCache};
use crate::percpu::set_virtual_cpu;
use crate::rcu;
use crate::slab::flags::SlabFlags;
use crate::stats::Stat;
use crate::sync::{Bug, Counter, Published, scheduled};
use core::cell::Cell;
use core::ptr::NonNull;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use std::sync::Arc;

const SIZE: usize = 512;
/// In the second word of every object that was ever shown, free or not.
const TYPED: u64 = 0x7479_7065;
const OTHER: u8 = 0xff;

fn alloc(cache: RawCache, cpu: u32) -> NonNull<u8> {
    set_virtual_cpu(Some(cpu));
    cache.alloc(AllocFlags::empty()).expect("memory")
}

fn free(cache: RawCache, cpu: u32, object: NonNull<u8>) {
    set_virtual_cpu(Some(cpu));
    // SAFETY: the caller's own.
    unsafe { cache.free(object) };
}

/// Shows an object, hides and frees it, lets its slab die, and has another cache write its pages all over, again and again.
fn shows(typed: RawCache, other: RawCache, place: &Published) {
    for _ in 0..2 {
        let object = alloc(typed, 0);
        // SAFETY: ours, and readers read the word as a whole.
        unsafe { object.cast::<u64>().add(1).write_volatile(TYPED) };
        place.publish(object.as_ptr().expose_provenance() as u64);
        place.publish(0);
        free(typed, 0, object);
        set_virtual_cpu(Some(0));
        let _died = typed.shrink();
        typed.reap();
        overwrites(other, 0);
    }
}

fn reads(place: &Published) {
    for _ in 0..4 {
        // No guard: after a failure shuttle clears up when the thread's record is gone.
        // SAFETY: left below, by the same thread.
        unsafe { rcu::read_lock_raw() };
        let address = place.read();
        // Each look at the place is a point where the others may go on.
        for _ in 0..20 {
            let _later = place.read();
        }
        let object = core::ptr::with_exposed_provenance::<u64>(address as usize);
        // SAFETY: a type-safe cache's object, found in this section.
        let seen = (address != 0).then(|| unsafe { object.add(1).read_volatile() });
        // SAFETY: entered above.
        unsafe { rcu::read_unlock_raw() };
        if let Some(wrong) = seen.filter(|&seen| seen != TYPED) {
            WRONG.set(Some(wrong));
        }
        FOUND.add(u64::from(seen.is_some()));
    }
}

/// Takes pages and writes them all over.
fn overwrites(cache: RawCache, cpu: u32) {
    let held: Vec<_> = (0..9).map(|_| alloc(cache, cpu)).collect();
    for object in held {
        // SAFETY: ours.
        unsafe { object.write_bytes(OTHER, SIZE) };
        free(cache, cpu, object);
    }
    set_virtual_cpu(Some(cpu));
    let _gone = cache.shrink();
}

std::thread_local! {
    /// What the reader found that was no object of the type. All tasks are one thread.
    static WRONG: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Objects that the reader found.
static FOUND: Counter = Counter::new();
/// Slabs that died while the scenario ran.
static DIED: Counter = Counter::new();

fn scenario(arena: &'static Arena) {
    scheduled(|| one_schedule(arena));
}

fn one_schedule(arena: &'static Arena) {
    set_virtual_cpu(None);
    let make = |name, flags| {
        let args = CacheArgs { sheaf_capacity: 4, flags, ..CacheArgs::default() };
        RawCache::create(arena, name, SIZE, &args).expect("a cache")
    };
    let (typed, other) = (make("shuttle-typed", SlabFlags::TYPESAFE_BY_RCU), make("shuttle-other", SlabFlags::empty()));
    let place = Arc::new(Published::new(0));
    let (shown, read) = (place.clone(), place);
    let tasks = [
        shuttle::thread::spawn(move || shows(typed, other, &shown)),
        shuttle::thread::spawn(move || reads(&read)),
        shuttle::thread::spawn(move || overwrites(other, 1)),
    ];
    for task in tasks {
        task.join().expect("no panic");
    }
    set_virtual_cpu(None);
    DIED.add(typed.stats().get(Stat::ReapSlab));
    typed.validate().expect("whole free lists");
    assert_eq!(typed.stats().objects, 0, "the books do not balance");
    for cache in [typed, other] {
        // SAFETY: all tasks have been joined, and the handles end here.
        unsafe { cache.destroy() }.expect("nothing is in use");
    }
    let wrong = WRONG.take();
    assert!(wrong.is_none(), "no object of the type any more: {wrong:x?}");
}

fn explore(random: RandomScheduler, pct: PctScheduler) {
    let arena = arena();
    runner(random).run(move || scenario(arena));
    runner(pct).run(move || scenario(arena));
}

#[test]
fn shuttle_typesafe_reader_against_death() {
    explore(RandomScheduler::new(SCHEDULES), PctScheduler::new(3, SCHEDULES));
    assert_ne!(DIED.get(), 0, "no schedule came to a death");
    assert_ne!(FOUND.get(), 0, "no schedule came to a find");
}

#[test]
#[should_panic(expected = "no object of the type any more")]
fn shuttle_typesafe_catches_pages_that_go_early() {
    let (random, pct) = (RandomScheduler::new_from_seed(4, SCHEDULES), PctScheduler::new_from_seed(4, 3, SCHEDULES));
    Bug::NoGracePeriod.plant(|| explore(random, pct));
}
