//! A type-safe cache under shuttle: objects are shown, hidden and freed, their slabs die, another cache gets the pages and writes
//! them all over, and a reader looks at whatever is shown.
//!
//! One task reads: to the library all tasks are one thread, with one reader's record. There is no service thread here.

use super::shuttle_tests::{SCHEDULES, arena, runner};
use super::{AllocFlags, Arena, CacheArgs, RawCache};
use crate::percpu::set_virtual_cpu;
use crate::rcu;
use crate::slab::flags::SlabFlags;
use crate::stats::Stat;
use crate::sync::{Bug, Counter, Published, scheduled};
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

/// Shows one object after the other, and lets their slab die.
fn shows(cache: RawCache, place: &Published) {
    for _ in 0..3 {
        let object = alloc(cache, 0);
        // SAFETY: ours, and readers read the word as a whole.
        unsafe { object.cast::<u64>().add(1).write_volatile(TYPED) };
        place.publish(object.as_ptr().expose_provenance() as u64);
        place.publish(0);
        free(cache, 0, object);
    }
    set_virtual_cpu(Some(0));
    let _died = cache.shrink();
    cache.reap();
}

fn reads(place: &Published) {
    for _ in 0..3 {
        let _reading = rcu::read_lock();
        let address = place.read();
        // Each look at the place is a point where the others go on.
        let _later = place.read();
        if address != 0 {
            let object = core::ptr::with_exposed_provenance::<u64>(address as usize);
            // SAFETY: a type-safe cache's object, found in this section.
            assert_eq!(unsafe { object.add(1).read_volatile() }, TYPED, "no object of the type any more");
        }
    }
}

/// Takes pages and writes them all over.
fn overwrites(cache: RawCache) {
    for _ in 0..2 {
        let held: Vec<_> = (0..9).map(|_| alloc(cache, 1)).collect();
        for object in held {
            // SAFETY: ours.
            unsafe { object.write_bytes(OTHER, SIZE) };
            free(cache, 1, object);
        }
        set_virtual_cpu(Some(1));
        let _gone = cache.shrink();
    }
}

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
        shuttle::thread::spawn(move || shows(typed, &shown)),
        shuttle::thread::spawn(move || reads(&read)),
        shuttle::thread::spawn(move || overwrites(other)),
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
}

#[test]
fn shuttle_typesafe_reader_against_death() {
    let arena = arena();
    runner(RandomScheduler::new(SCHEDULES)).run(move || scenario(arena));
    runner(PctScheduler::new(3, SCHEDULES)).run(move || scenario(arena));
    assert_ne!(DIED.get(), 0, "no schedule came to a death");
}

/// The same schedules every time.
fn explore_known() {
    let arena = arena();
    runner(RandomScheduler::new_from_seed(6, SCHEDULES)).run(move || scenario(arena));
    runner(PctScheduler::new_from_seed(6, 3, SCHEDULES)).run(move || scenario(arena));
}

#[test]
#[should_panic]
fn shuttle_typesafe_catches_pages_before_the_grace_period() {
    Bug::NoGracePeriod.plant(explore_known);
}
