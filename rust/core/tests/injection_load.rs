//! Failures on demand that come and go while threads work, and across forks: nothing is lost by them.

mod injection_help;

use haybarn::fault::{FaultGuard, fail_page_alloc, fail_slab};
use haybarn::sync::Counter;
use haybarn::{ArenaConfig, BackendKind, CacheArgs, set_virtual_cpu};
use injection_help::support::*;
use injection_help::*;
use std::ptr::NonNull;

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
            assert_eq!(failing(cache, 100), [0; 0]);
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
