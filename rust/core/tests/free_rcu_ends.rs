//! What ends while objects of `free_rcu` wait: caches, threads, and the part of a process that a fork leaves behind.

mod support;

use haybarn::sync::Counter;
use haybarn::{CacheArgs, rcu, set_virtual_cpu};
use std::collections::HashSet;
use std::num::NonZero;
use std::ptr::NonNull;
use std::sync::Mutex;
use support::later::*;
use support::*;

/// Destroy straight after `free_rcu` by several threads that have just ended.
#[test]
fn destroy_right_after_frees_of_several_threads() {
    for arena in every_arena() {
        for round in 0..30 {
            for (size, args) in kinds() {
                let cache = create(arena, "short", size, &args);
                std::thread::scope(|scope| {
                    for thread in 0..4 {
                        scope.spawn(move || {
                            set_virtual_cpu(Some(thread));
                            let objects = take_many(cache, 1 + 37 * round);
                            free_rcu(cache, objects);
                        });
                    }
                });
                // SAFETY: its threads have ended.
                unsafe { cache.destroy() }.unwrap();
            }
        }
    }
}

/// A forked child has everything that was given to `free_rcu`, whatever other threads of the parent were at, and its barrier
/// works. A section is open meanwhile, so that nothing comes back before, which others could have in their hands.
#[test]
fn a_forked_child_loses_nothing() {
    let _alone = alone();
    for (arena, switch) in every_failing_arena() {
        for (size, args) in kinds() {
            let cache = create(arena, "forked", size, &args);
            for round in 0..6 {
                let reading = rcu::read_lock();
                let given = take_many(cache, 150);
                let mut missing: HashSet<_> = given.iter().map(|object| object.addr()).collect();
                let begun = Counter::new();
                let code = std::thread::scope(|scope| {
                    for thread in 0..2 {
                        let begun = &begun;
                        scope.spawn(move || {
                            set_virtual_cpu(Some(thread));
                            let objects = take_many(cache, 1500);
                            begun.add(1);
                            free_rcu(cache, objects);
                        });
                    }
                    while begun.get() == 0 {
                        std::thread::yield_now();
                    }
                    free_rcu(cache, given);
                    while begun.get() < 2 {
                        std::thread::yield_now();
                    }
                    in_child(|| {
                        drop(reading);
                        if cache.rcu_barrier().is_err() {
                            return 1;
                        }
                        if cache.rcu_pending() > 0 {
                            return 2;
                        }
                        // Nobody else is here: they all come out again, unless their slab went with its last object.
                        switch.fail_now();
                        for object in take_all(cache) {
                            missing.remove(&object.addr());
                        }
                        let is_there =
                            |address: &NonZero<usize>| cache.check(std::ptr::without_provenance(address.get())).is_ok();
                        if missing.iter().any(is_there) { 4 } else { 0 }
                    })
                });
                assert_eq!(code, 0, "round {round} on {}: {:?}", arena.backend(), cache.stats());
                cache.rcu_barrier().unwrap();
            }
            end(cache);
        }
    }
}

/// K§2.19: what a callback frees late into something that keeps objects must be out of there before the cache is checked.
#[test]
fn a_retainer_that_gets_objects_late_does_not_keep_the_cache_from_its_end() {
    #[derive(Default)]
    struct Quarantine(Mutex<Vec<usize>>);
    impl haybarn::Retain for Quarantine {
        fn retain(&self, object: NonNull<u8>) -> bool {
            let mut kept = self.0.lock().unwrap();
            kept.push(object.as_ptr().expose_provenance());
            true
        }
        fn purge(&self) -> Vec<NonNull<u8>> {
            let kept = std::mem::take(&mut *self.0.lock().unwrap());
            kept.into_iter()
                .filter_map(|address| NonNull::new(std::ptr::with_exposed_provenance_mut(address)))
                .collect()
        }
    }
    let _alone = alone();
    for arena in every_arena() {
        for (size, args) in kinds() {
            for _ in 0..10 {
                let quarantine = std::sync::Arc::new(Quarantine::default());
                let args = CacheArgs { retainer: Some(quarantine.clone()), ..args.clone() };
                let cache = create(arena, "kept", size, &args);
                std::thread::scope(|scope| {
                    for thread in 0..3 {
                        scope.spawn(move || {
                            set_virtual_cpu(Some(thread));
                            free_rcu(cache, take_many(cache, 150));
                        });
                    }
                });
                // SAFETY: its threads have ended.
                unsafe { cache.destroy() }.unwrap();
                assert!(quarantine.0.lock().unwrap().is_empty());
            }
        }
    }
}
