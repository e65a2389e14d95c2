//! Freeing after a grace period: nobody gets an object back while a reader may look at it, everything comes back after a
//! barrier, and the books balance at every step.

mod support;

use haybarn::sync::Counter;
use haybarn::{AllocFlags, ArenaConfig, CacheArgs, Error, RawCache, Stat, rcu, service, set_virtual_cpu};
use std::collections::HashSet;
use std::ptr::NonNull;
use std::time::{Duration, Instant};
use support::later::*;
use support::*;

#[test]
fn what_is_freed_comes_back_after_a_barrier() {
    let _alone = alone();
    for arena in every_arena() {
        for (size, args) in kinds() {
            let cache = create(arena, "back", size, &args);
            for count in [0, 1, 7, 61, 1000, 5000] {
                let objects = take_many(cache, count);
                free_rcu(cache, objects);
                audit(cache, 0);
                cache.rcu_barrier().unwrap();
                assert_eq!(cache.rcu_pending(), 0);
                audit(cache, 0);
            }
            let stats = cache.stats();
            let given = stats.get(Stat::FreeRcuSheaf) + stats.get(Stat::FreeRcuSheafFail);
            assert_eq!((given, stats.get(Stat::FreeRcuDone)), (6069, 6069));
            let in_sheaves = if cache.info().sheaf_capacity > 0 { 6069 } else { 0 };
            assert_eq!(stats.get(Stat::FreeRcuSheaf), in_sheaves, "{}: {stats:?}", arena.backend());
            end(cache);
        }
    }
}

#[test]
fn nothing_comes_back_while_a_reader_is_there() {
    let _alone = alone();
    for arena in every_arena() {
        for (size, args) in kinds() {
            let cache = create(arena, "read", size, &args);
            let objects = take_many(cache, 500);
            let freed: HashSet<_> = objects.iter().map(|object| object.addr()).collect();
            let reading = rcu::read_lock();
            for &object in &objects {
                // SAFETY: ours; the section keeps what is written there until it ends.
                unsafe {
                    object.cast::<usize>().write(object.addr().get());
                    cache.free_rcu(object).unwrap();
                }
            }
            assert_eq!(cache.rcu_pending(), 500);
            audit(cache, 0);
            // Whatever else goes on, none of them is handed out, and none is written to.
            let others = take_many(cache, 3000);
            assert!(others.iter().all(|object| !freed.contains(&object.addr())));
            give(cache, others);
            let _ = cache.shrink();
            cache.validate().unwrap();
            assert_eq!(cache.rcu_pending(), 500);
            for &object in &objects {
                // SAFETY: a reader may look until its section ends.
                assert_eq!(unsafe { object.cast::<usize>().read() }, object.addr().get());
            }
            drop(reading);
            cache.rcu_barrier().unwrap();
            audit(cache, 0);
            let again = take_many(cache, 3000);
            assert!(again.iter().any(|object| freed.contains(&object.addr())), "they are used again");
            give(cache, again);
            end(cache);
        }
    }
}

#[test]
fn many_at_once() {
    let _alone = alone();
    for arena in every_arena() {
        for (size, args) in kinds() {
            let cache = create(arena, "bulk", size, &args);
            for count in [0, 1, 59, 60, 61, 2000] {
                for reading in [false, true] {
                    let mut objects: Vec<_> = take_many(cache, count).into_iter().map(NonNull::as_ptr).collect();
                    let section = reading.then(rcu::read_lock);
                    // SAFETY: ours, and used no more.
                    unsafe { cache.free_rcu_bulk(&mut objects) }.unwrap();
                    drop(section);
                    audit(cache, 0);
                }
            }
            cache.rcu_barrier().unwrap();
            audit(cache, 0);
            end(cache);
        }
    }
}

/// A whole sheaf goes to the barn of the node whose CPU filled it; objects of another node go to that node's slabs.
#[test]
fn sheaves_go_back_to_their_node() {
    let _alone = alone();
    for arena in virtual_arenas(4, 2) {
        let cache = create(arena, "nodes", 64, &CacheArgs::default());
        let capacity = cache.info().sheaf_capacity as usize;
        set_virtual_cpu(Some(3));
        let mut far = take_many(cache, 3 * capacity);
        // A refill may have left what another node's list had: all of these are of CPU 3's own.
        free_rcu(cache, far.drain(..capacity));
        cache.rcu_barrier().unwrap();
        let stats = cache.stats();
        assert_eq!((stats.barn.0, stats.get(Stat::FreeRcuSheaf)), (1, capacity as u64), "{stats:?}");
        set_virtual_cpu(Some(0));
        free_rcu(cache, far);
        assert_eq!(cache.stats().get(Stat::FreeRcuSheafFail), 2 * capacity as u64, "objects of another node are loose");
        cache.rcu_barrier().unwrap();
        audit(cache, 0);
        set_virtual_cpu(None);
        end(cache);
    }
}

/// A batch that is not full waits for nobody's next free.
#[test]
fn age_is_bounded_with_nobody_freeing_again() {
    let _alone = alone();
    service::allow();
    for backend in BACKENDS {
        let Some(arena) = arena(ArenaConfig { cpus: None, ..config(backend, haybarn::Form::Packed) }) else { continue };
        for (size, args) in kinds() {
            let cache = create(arena, "aged", size, &args);
            free_rcu(cache, [take(cache)]);
            let begun = Instant::now();
            // Generous: other tests' readers may hold a grace period up, and the machine may be busy.
            while cache.rcu_pending() > 0 && begun.elapsed() < 20 * RawCache::FREE_RCU_AGE {
                std::thread::sleep(Duration::from_millis(20));
            }
            assert_eq!(cache.rcu_pending(), 0, "{backend}");
            end(cache);
        }
    }
}

#[test]
fn a_barrier_in_a_section_is_an_error_and_a_destroy_that_would_wait() {
    let _alone = alone();
    for arena in every_arena() {
        let cache = create(arena, "inside", 64, &CacheArgs::default());
        free_rcu(cache, [take(cache)]);
        let reading = rcu::read_lock();
        assert!(matches!(cache.rcu_barrier(), Err(Error::InReadSection { .. })));
        // SAFETY: nobody else has it; it fails.
        assert!(matches!(unsafe { cache.destroy() }, Err(Error::InReadSection { .. })));
        drop(reading);
        // Still usable, and then it goes, barrier and all.
        free_rcu(cache, [take(cache)]);
        // SAFETY: the test is done with it.
        unsafe { cache.destroy() }.unwrap();
    }
}

#[test]
fn a_barrier_can_be_given_up() {
    let _alone = alone();
    let cache = create(every_arena()[0], "given-up", 64, &CacheArgs::default());
    free_rcu(cache, [take(cache)]);
    let (entered, leave) = (Counter::new(), Counter::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _reading = rcu::read_lock();
            entered.add(1);
            while leave.get() == 0 {
                std::thread::yield_now();
            }
        });
        while entered.get() == 0 {
            std::thread::yield_now();
        }
        let asked = Counter::new();
        let go_on = || {
            asked.add(1);
            asked.get() < 5
        };
        assert_eq!(cache.rcu_barrier_while(&go_on), Ok(false));
        assert_eq!(cache.rcu_pending(), 1);
        leave.add(1);
    });
    assert_eq!(cache.rcu_barrier_while(&|| true), Ok(true));
    end(cache);
}

/// A barrier of one cache does not wait for callbacks, nor for another cache's objects.
#[test]
fn a_barrier_is_of_one_cache_and_rcu_barrier_of_all() {
    let _alone = alone();
    let arenas = every_arena();
    let caches: Vec<_> = arenas.iter().map(|arena| create(arena, "one", 64, &CacheArgs::default())).collect();
    let others: Vec<_> = arenas.iter().map(|arena| create(arena, "other", 64, &CacheArgs::default())).collect();
    for (&cache, &other) in caches.iter().zip(&others) {
        free_rcu(cache, take_many(cache, 100));
        free_rcu(other, take_many(other, 100));
        cache.rcu_barrier().unwrap();
        assert_eq!(cache.rcu_pending(), 0);
    }
    rcu::barrier().unwrap();
    for cache in caches.into_iter().chain(others) {
        assert_eq!(cache.rcu_pending(), 0);
        end(cache);
    }
}

/// Nobody gets more memory for batches: the call waits for readers itself; in a section it is an error.
#[test]
fn without_memory_for_a_batch_it_waits_or_refuses() {
    let _alone = alone();
    for (arena, switch) in every_failing_arena() {
        for (size, args) in kinds() {
            let cache = create(arena, "scarce", size, &args);
            let mut objects = take_many(cache, 600);
            switch.fail_now();
            {
                let _reading = rcu::read_lock();
                // What is left of the pools serves for a while.
                let refused = loop {
                    let Some(object) = objects.pop() else { break None };
                    // SAFETY: the object is ours; where it is refused it stays so.
                    if let Err(error) = unsafe { cache.free_rcu(object) } {
                        objects.push(object);
                        break Some(error);
                    }
                };
                if let Some(error) = refused {
                    assert!(matches!(error, Error::InReadSection { .. }), "{error}");
                    let mut all: Vec<_> = objects.iter().map(|object| object.as_ptr()).collect();
                    // SAFETY: as above.
                    unsafe {
                        if all.len() > 60 {
                            assert!(matches!(cache.free_rcu_bulk(&mut all), Err(Error::InReadSection { .. })));
                        }
                        assert!(!cache.try_free_rcu(objects[0]));
                        assert_eq!(all.len(), objects.len());
                        // Untouched: still ours to write to.
                        objects.iter().for_each(|object| object.as_ptr().write_bytes(1, size));
                    }
                }
                audit(cache, objects.len());
            }
            free_rcu(cache, objects);
            audit(cache, 0);
            cache.rcu_barrier().unwrap();
            switch.heal();
            audit(cache, 0);
            end(cache);
        }
    }
}

/// Full speed with readers that come and go: what waits stays bounded.
#[test]
fn what_waits_is_bounded() {
    let _alone = alone();
    for arena in every_arena() {
        for (size, args) in kinds() {
            let cache = create(arena, "bounded", size, &args);
            let mut most = 0;
            for _ in 0..200 {
                free_rcu(cache, take_many(cache, 1000));
                most = most.max(cache.rcu_pending());
            }
            // Four batches of what a barn holds, at most 128 KiB or ten sheaves each, and what lies on the CPUs.
            let sheaf = u64::from(if cache.info().sheaf_capacity > 0 { cache.info().sheaf_capacity } else { 60 });
            let barn = ((128 << 10) / (sheaf * cache.info().slab_size as u64)).max(10);
            let bound = (4 * barn + 2 * u64::from(arena.cpus()) + 2) * sheaf;
            assert!(most <= bound, "{most} objects waited, more than {bound}: {:?}", cache.info());
            cache.rcu_barrier().unwrap();
            end(cache);
        }
    }
}

/// While others free, barriers, shrinks and validations go on; every object that is freed before a barrier is free after it.
#[test]
fn barriers_under_load() {
    let _alone = alone();
    for arena in every_arena() {
        for (size, args) in kinds() {
            let cache = create(arena, "load", size, &args);
            std::thread::scope(|scope| {
                for thread in 0..3_u32 {
                    scope.spawn(move || {
                        for n in 0..60_u32 {
                            set_virtual_cpu(Some(n / 10 + thread));
                            free_rcu(cache, take_many(cache, 40 * (n % 5) as usize + 1));
                            match (n + thread) % 8 {
                                0 => cache.rcu_barrier().unwrap(),
                                1 => drop(cache.shrink()),
                                2 => cache.validate().unwrap(),
                                3 => rcu::barrier().unwrap(),
                                _ => {}
                            }
                        }
                    });
                }
            });
            cache.rcu_barrier().unwrap();
            assert_eq!(cache.rcu_pending(), 0);
            audit(cache, 0);
            end(cache);
        }
    }
}

#[test]
fn static_and_typed_caches() {
    use haybarn::{KmemCache, StaticCache, kfree_rcu};
    static STATIC: StaticCache<[u64; 8]> = StaticCache::new("static-rcu");
    let _alone = alone();
    STATIC.setup(&CacheArgs::default()).unwrap();
    let cache = KmemCache::<[u64; 8]>::create("typed-rcu", &CacheArgs::default()).unwrap();
    for n in 0..1000 {
        kfree_rcu(STATIC.alloc([n; 8]).unwrap()).unwrap();
        kfree_rcu(cache.alloc([n; 8]).unwrap()).unwrap();
    }
    let raw = STATIC.raw().unwrap();
    audit(raw, 0);
    cache.rcu_barrier().unwrap();
    STATIC.rcu_barrier().unwrap();
    assert_eq!((raw.rcu_pending(), cache.stats().rcu_pending), (0, 0));
    kfree_rcu(cache.alloc([0; 8]).unwrap()).unwrap();
    cache.destroy().unwrap();
    kfree_rcu(STATIC.alloc([0; 8]).unwrap()).unwrap();
    // SAFETY: nobody else uses it.
    unsafe { STATIC.destroy() }.unwrap();
}

#[test]
fn objects_of_counting_caches_are_counted_once() {
    let _alone = alone();
    for arena in every_arena() {
        let cache = create(arena, "counted", 64, &args(0, true, true));
        let objects: Vec<_> = (0..777).map(|_| cache.alloc_counted(AllocFlags::empty()).unwrap()).collect();
        free_rcu(cache, objects);
        let stats = cache.stats();
        assert_eq!(stats.get(Stat::FreeRcuSheaf), 777);
        assert_eq!(stats.get(Stat::FreeFastpath) + stats.get(Stat::FreeSlowpath), 0);
        cache.rcu_barrier().unwrap();
        end(cache);
    }
}
