//! Failures on demand through the public interface: what fails, what must not, and that nothing is lost by it. Faults are the
//! process's, so the tests of this file take turns.

mod support;

use haybarn::fault::{self, FaultAttr, FaultGuard, Point, fail_page_alloc, fail_slab};
use haybarn::sync::Counter;
use haybarn::{Arena, ArenaConfig, BackendKind, CacheArgs, Error, KmemCache, RawCache, StaticCache, set_virtual_cpu};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};
use support::*;

static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn all() -> FaultAttr {
    FaultAttr::default()
}

fn often(probability: f64) -> FaultAttr {
    FaultAttr { probability, ..all() }
}

fn objects(cache: RawCache, attr: FaultAttr) -> FaultGuard {
    fail_slab(Some(cache), attr).unwrap()
}

/// Which of `n` allocations fail.
fn failing(cache: RawCache, n: usize) -> Vec<usize> {
    (0..n).filter(|_| cache.alloc(PLAIN).map(|object| give(cache, [object])).is_none()).collect()
}

/// A cache on each arena, counting its hits and not.
fn every_cache(size: usize) -> Vec<RawCache> {
    let make = |arena, name, count_hits| create(arena, name, size, &CacheArgs { count_hits, ..CacheArgs::default() });
    every_arena().into_iter().flat_map(|arena| [make(arena, "plain", false), make(arena, "counting", true)]).collect()
}

#[test]
fn warm_sheaves_serve_while_pages_fail_and_nothing_serves_while_objects_fail() {
    let _turn = turn();
    for cache in every_cache(64) {
        let warm = take_many(cache, 50);
        give(cache, warm);
        let pages = fail_page_alloc(all()).unwrap();
        assert_eq!(failing(cache, 20), []);
        assert_eq!(pages.end(), 0);
        let slabs = objects(cache, all());
        assert_eq!(failing(cache, 3), [0, 1, 2]);
        assert_eq!(cache.alloc_node(PLAIN, 0), None);
        assert!(take_bulk(cache, 3).is_none());
        assert_eq!(cache.stats().in_sheaves, 0);
        assert_eq!(slabs.end(), 5);
        assert_eq!(failing(cache, 20), []);
        end(cache);
    }
}

#[test]
fn what_fails_is_chosen_by_interval_space_times_and_chance() {
    let _turn = turn();
    for cache in every_cache(100) {
        let which = |attr| {
            let guard = objects(cache, attr);
            let failed = failing(cache, 10);
            assert_eq!(guard.end(), failed.len() as u64);
            failed
        };
        assert_eq!(which(FaultAttr { interval: 4, ..all() }), [3, 7]);
        assert_eq!(which(FaultAttr { times: Some(3), ..all() }), [0, 1, 2]);
        assert_eq!(which(FaultAttr { space: 701, ..all() }), [7, 8, 9]);
        assert_eq!(which(often(0.0)), []);
        let guard = objects(cache, often(0.25));
        let failed = failing(cache, 2000).len() as f64;
        assert!((failed - 500.0).abs() < 6.0 * (2000.0 * 0.25 * 0.75f64).sqrt(), "{failed}");
        drop(guard);
        // A bulk allocation is one request, for the bytes of all its objects.
        let guard = objects(cache, FaultAttr { space: 1000, ..all() });
        assert!(take_bulk(cache, 10).is_none());
        let few = take_bulk(cache, 9).unwrap();
        drop(guard);
        give_bulk(cache, &few);
        end(cache);
    }
}

#[test]
fn one_thread_alone() {
    let _turn = turn();
    for cache in every_cache(64) {
        let guard = objects(cache, FaultAttr { this_thread: true, ..all() });
        std::thread::scope(|scope| scope.spawn(|| assert_eq!(failing(cache, 10), [])).join().unwrap());
        assert_eq!(failing(cache, 2), [0, 1]);
        // It may be ended elsewhere.
        std::thread::scope(|scope| scope.spawn(|| assert_eq!(guard.end(), 2)).join().unwrap());
        assert_eq!(failing(cache, 2), []);
        end(cache);
    }
}

#[test]
fn one_cache_or_all_and_those_that_come_meanwhile() {
    let _turn = turn();
    for arena in every_arena() {
        let [one, other] = ["one", "other"].map(|name| create(arena, name, 64, &CacheArgs::default()));
        let first = objects(one, all());
        assert_eq!((failing(one, 2), failing(other, 2)), (vec![0, 1], vec![]));
        let every = fail_slab(None, FaultAttr { interval: 2, ..all() }).unwrap();
        let born = create(arena, "born", 64, &CacheArgs::default());
        assert_eq!((failing(born, 4), failing(other, 2)), (vec![1, 3], vec![1]));
        assert_eq!(failing(one, 2), [0, 1]);
        assert_eq!((first.end(), every.fired()), (4, 4));
        assert_eq!(failing(one, 2), [1]);
        assert_eq!(every.end(), 5);
        for cache in [one, other, born] {
            assert_eq!(failing(cache, 4), []);
            end(cache);
        }
    }
}

#[test]
fn parked_caches_are_whole_and_can_be_shrunk_and_ended() {
    let _turn = turn();
    for arena in every_arena().into_iter().chain(virtual_arenas(4, 2)) {
        for round in 0..3 {
            let cache = create(arena, "parked", 128, &CacheArgs { count_hits: true, ..CacheArgs::default() });
            let held = take_many(cache, 300);
            let (keep, go) = held.split_at(100);
            give(cache, go[..100].iter().copied());
            let guard = objects(cache, all());
            audit_drained(cache, 200);
            // Frees go to the slabs, from every CPU.
            for cpu in 0..cache.arena().cpus() {
                set_virtual_cpu(Some(cpu));
                let n = 100 / cache.arena().cpus() as usize;
                let share = &go[100 + cpu as usize * n..][..n];
                if cpu % 2 == 0 { give(cache, share.iter().copied()) } else { give_bulk(cache, share) }
            }
            let rest = 100 / cache.arena().cpus() as usize * cache.arena().cpus() as usize;
            give(cache, go[100 + rest..].iter().copied());
            set_virtual_cpu(None);
            assert_eq!(
                (cache.stats().in_sheaves, failing(cache, 3)),
                (0, vec![0, 1, 2]),
                "a free opened a parked slot"
            );
            audit_drained(cache, 100);
            let _ = cache.shrink();
            audit_drained(cache, 100);
            // SAFETY: nobody else uses the cache; it refuses.
            let refused = unsafe { cache.destroy() };
            assert!(matches!(refused, Err(Error::CacheBusy { live: 100, .. })), "{refused:?}");
            assert_eq!(failing(cache, 1), [0]);
            give(cache, keep.iter().copied());
            match round {
                0 => {
                    drop(guard);
                    end(cache);
                }
                1 => {
                    end(cache);
                    // Nothing is left that the fault could be about.
                    assert_eq!(fault::active(), []);
                    drop(guard);
                }
                _ => {
                    // The next cache lies in the same memory and is none of its business.
                    end(cache);
                    let next = create(arena, "next", 128, &CacheArgs::default());
                    assert_eq!(failing(next, 3), []);
                    drop(guard);
                    end(next);
                }
            }
        }
    }
}

/// Every request that making and first using a cache takes, refused in turn.
#[test]
fn a_request_that_fails_leaves_nothing_behind() {
    let _turn = turn();
    for arena in every_arena().into_iter().chain(virtual_arenas(40, 2)) {
        let mut failures = 0;
        for at in 1.. {
            assert!(at < 500);
            let guard = fail_page_alloc(FaultAttr { interval: at, times: Some(1), ..all() }).unwrap();
            let made = RawCache::create(arena, "made", 256, &CacheArgs::default());
            let Ok(cache) = made else {
                assert!(matches!(made, Err(Error::OutOfMemory { .. })), "{made:?}");
                assert_eq!((guard.end(), arena.cache_names().len()), (1, 0));
                failures += 1;
                continue;
            };
            let objects = (0..40).filter_map(|_| cache.alloc(PLAIN)).collect::<Vec<_>>();
            let fired = guard.end();
            audit(cache, objects.len());
            give(cache, objects);
            end(cache);
            if fired == 0 {
                break;
            }
        }
        assert!(failures > arena.cpus() as usize, "the block and a sheaf for each CPU: {failures}");
    }
}

#[test]
fn bulk_is_all_or_nothing_wherever_it_fails() {
    let _turn = turn();
    for cache in every_cache(256) {
        let kept = take_many(cache, 77);
        let mut failures = 0;
        for at in 1..70 {
            let some = take_many(cache, 130);
            give(cache, some);
            let before = cache.stats();
            let guard = fail_page_alloc(FaultAttr { interval: at, ..all() }).unwrap();
            let got = take_bulk(cache, 600);
            let fired = guard.end();
            assert!(got.is_some() || fired > 0, "failed without a fault");
            failures += u32::from(got.is_none());
            match got {
                Some(got) => give_bulk(cache, &got),
                None => {
                    let hits = |stats: &haybarn::CacheStats| {
                        use haybarn::Stat::*;
                        [AllocFastpath, AllocSlowpath, FreeFastpath, FreeSlowpath].map(|stat| stats.get(stat))
                    };
                    assert_eq!(hits(&cache.stats()), hits(&before), "a call that failed is neither alloc nor free");
                }
            }
            audit(cache, kept.len());
            let _ = cache.shrink();
            audit_drained(cache, kept.len());
        }
        assert!((5..69).contains(&failures), "{failures} of 69");
        give(cache, kept);
        end(cache);
    }
}

/// Random operations under random faults of both kinds that come and go.
#[test]
fn nothing_is_lost_under_random_failures() {
    let _turn = turn();
    for (seed, arena) in every_arena().into_iter().chain(virtual_arenas(4, 2)).enumerate() {
        for count_hits in [false, true] {
            let cache = create(arena, "random", 512, &CacheArgs { count_hits, ..CacheArgs::default() });
            let mut state = seed as u64 + 1;
            let mut random = |below: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as usize % below
            };
            let (mut held, mut guards, mut fired) = (Vec::<NonNull<u8>>::new(), Vec::new(), 0);
            for _ in 0..3000 {
                set_virtual_cpu(Some(random(4) as u32));
                match random(40) {
                    0..14 => held.extend(cache.alloc(PLAIN)),
                    14..26 if !held.is_empty() => give(cache, [held.swap_remove(random(held.len()))]),
                    26..30 => held.extend(take_bulk(cache, 1 + random(80)).into_iter().flatten()),
                    30..34 => give_bulk(cache, &held.split_off(random(held.len() + 1))),
                    34 => drop(cache.shrink()),
                    35 => cache.validate().unwrap(),
                    36 => guards.push(fail_page_alloc(often(0.5)).unwrap()),
                    37 => guards.push(objects(cache, often(0.3))),
                    38 => guards.push(fail_slab(None, often(0.2)).unwrap()),
                    _ if !guards.is_empty() => fired += guards.swap_remove(random(guards.len())).end(),
                    _ => {}
                }
            }
            fired += guards.into_iter().map(FaultGuard::end).sum::<u64>();
            set_virtual_cpu(None);
            assert!(fired > 0);
            audit_drained(cache, held.len());
            give(cache, held);
            assert_eq!(failing(cache, 100), []);
            end(cache);
        }
    }
}

#[test]
fn faults_come_and_go_while_threads_allocate() {
    let _turn = turn();
    for cache in every_cache(64) {
        let done = Counter::new();
        let refused = std::thread::scope(|scope| {
            let work = |cpu: u32| {
                set_virtual_cpu(Some(cpu));
                let (mut refused, mut held) = (0, Vec::new());
                while done.get() == 0 {
                    for _ in 0..90 {
                        match cache.alloc(PLAIN) {
                            Some(object) => held.push(object),
                            None => refused += 1,
                        }
                    }
                    if held.len() % 2 == 0 {
                        give_bulk(cache, &held)
                    } else {
                        give(cache, held.iter().copied())
                    }
                    held.clear();
                }
                refused
            };
            let threads = [scope.spawn(move || work(0)), scope.spawn(move || work(1))];
            let mut fired = 0;
            for round in 0..150 {
                let guard = if round % 3 == 0 { fail_slab(None, often(0.5)).unwrap() } else { objects(cache, all()) };
                if round % 4 == 0 {
                    let _ = cache.shrink();
                }
                std::thread::yield_now();
                fired += guard.end();
            }
            done.add(1);
            (fired, threads.map(|thread| thread.join().unwrap()).iter().sum::<u64>())
        });
        assert_eq!(refused.0, refused.1, "each failure is one fault's");
        audit_drained(cache, 0);
        end(cache);
    }
}

#[test]
fn typed_and_static_caches_fail_as_when_memory_is_out() {
    static FIXED: StaticCache<[u64; 4]> = StaticCache::new("injected-static");
    let _turn = turn();
    let typed = KmemCache::<std::sync::Arc<u32>>::create("injected-typed", &CacheArgs::default()).unwrap();
    FIXED.setup(&CacheArgs::default()).unwrap();
    let value = std::sync::Arc::new(7);
    let kept = (typed.alloc(value.clone()).unwrap(), FIXED.alloc([1; 4]).unwrap());
    let guard = fail_slab(None, all()).unwrap();
    assert!(matches!(typed.alloc(value.clone()), Err(Error::OutOfMemory { .. })));
    assert!(matches!(FIXED.alloc([2; 4]), Err(Error::OutOfMemory { .. })));
    assert_eq!(std::sync::Arc::strong_count(&value), 2, "the value that found no place was dropped");
    assert_eq!((**kept.0, kept.1[0]), (7, 1));
    drop(kept);
    drop(guard);
    assert_eq!(FIXED.alloc([3; 4]).unwrap()[0], 3);
    typed.destroy().unwrap();
}

#[test]
fn active_faults_are_told_and_end_with_their_guard() {
    let _turn = turn();
    let cache = create(every_arena()[0], "told", 64, &CacheArgs::default());
    assert_eq!(fault::active(), []);
    let guards = [objects(cache, FaultAttr { times: Some(9), ..often(0.5) }), fail_page_alloc(all()).unwrap()];
    assert!(!fault::request(Point::Wrapper, 32));
    let told = fault::active();
    let mut texts = told.iter().map(ToString::to_string).collect::<Vec<_>>();
    texts.sort();
    assert_eq!(
        texts,
        [
            "fail_page_alloc: probability 1, interval 1, space 0, times without end, fired 1",
            "fail_slab of cache 'told': probability 0.5, interval 1, space 0, times 9, fired 0",
        ]
    );
    drop(guards);
    assert_eq!(fault::active(), []);
    assert!(fault::request(Point::Wrapper, 32));
    end(cache);
}

/// A child is forked while other threads start and end faults, drain and allocate. The forking thread's fault is on in the
/// child, its cache parked, until the child's copy of the guard ends it; then the cache works.
#[test]
fn a_forked_child_has_its_faults_and_can_end_them() {
    let _turn = turn();
    for kind in BackendKind::ALL {
        let cpus = (kind == BackendKind::Virtual).then_some(2);
        let Some(arena) = arena(ArenaConfig { cpus, ..config(kind, FORMS[0]) }) else { continue };
        let (cache, other) =
            (create(arena, "faulty", 64, &CacheArgs::default()), create(arena, "other", 64, &CacheArgs::default()));
        let done = Counter::new();
        let outcome = std::thread::scope(|scope| {
            scope.spawn(|| {
                while done.get() == 0 {
                    drop(fail_slab(None, often(0.0)).unwrap());
                    drop(objects(other, often(0.0)));
                    let _ = other.shrink();
                }
            });
            scope.spawn(|| {
                set_virtual_cpu(Some(1));
                while done.get() == 0 {
                    let held = take_many(other, 200);
                    give(other, held);
                }
            });
            let mut outcome = Ok(());
            for round in 0..60 {
                let kept = take_many(cache, 8 * arena.cpus() as usize);
                let mut guard = Some(objects(cache, all()));
                let code = in_child(|| {
                    for cpu in 0..arena.cpus() {
                        set_virtual_cpu(Some(cpu));
                        give(cache, kept[8 * cpu as usize..][..8].iter().copied());
                        if cache.alloc(PLAIN).is_some() {
                            return 1;
                        }
                    }
                    if guard.take().map(FaultGuard::end) != Some(u64::from(arena.cpus())) {
                        return 2;
                    }
                    for cache in [cache, other] {
                        for cpu in 0..arena.cpus() {
                            set_virtual_cpu(Some(cpu));
                            for _ in 0..100 {
                                let Some(object) = cache.alloc(PLAIN) else { return 3 };
                                give(cache, [object]);
                            }
                        }
                        let _ = cache.shrink();
                        if cache.validate().is_err() {
                            return 4;
                        }
                    }
                    0
                });
                if code != 0 {
                    outcome = Err((round, code));
                    break;
                }
                assert_eq!(guard.map(|guard| guard.fired()), Some(0), "the child's failures are the child's");
                give(cache, kept);
            }
            done.add(1);
            outcome
        });
        assert_eq!(outcome, Ok(()), "on {kind}: round, and what the child found");
        end(cache);
        end(other);
    }
}

/// What everything does when all arenas' caches are asked at once, in an arena that is made meanwhile.
#[test]
fn an_arena_made_while_everything_fails() {
    let _turn = turn();
    let guard = fail_slab(None, all()).unwrap();
    let arena = Arena::create(ArenaConfig { reserve: 1 << 30, ..ArenaConfig::default() }).unwrap();
    let cache = create(arena, "late", 64, &CacheArgs::default());
    assert_eq!(failing(cache, 2), [0, 1]);
    drop(guard);
    assert_eq!(failing(cache, 2), []);
    end(cache);
}
