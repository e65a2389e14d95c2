//! Failures on demand through the public interface: what fails, what must not, and what is left behind.

mod injection_help;

use haybarn::fault::{self, FaultAttr, Point, fail_page_alloc, fail_slab};
use haybarn::{Arena, ArenaConfig, CacheArgs, Error, KmemCache, RawCache, StaticCache, set_virtual_cpu};
use injection_help::support::*;
use injection_help::*;

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
