//! Prefilled sheaves (K§2.16, E1, E7, I10): n objects can be taken whatever becomes of the memory, failures leave nothing behind,
//! every sheaf that goes out comes back under one counter.

mod support;

use haybarn::{AllocFlags, CacheArgs, Error, RawCache, RawPrefilled, SlabFlags, Stat, set_virtual_cpu};
use std::collections::HashSet;
use std::ptr::NonNull;
use support::*;

fn args(sheaf_capacity: u32) -> CacheArgs {
    CacheArgs { sheaf_capacity, ..CacheArgs::default() }
}

fn prefill(cache: RawCache, n: usize) -> RawPrefilled {
    cache.prefill(PLAIN, n).expect("memory")
}

fn empty(sheaf: &mut RawPrefilled) -> Vec<NonNull<u8>> {
    std::iter::from_fn(|| sheaf.alloc(PLAIN)).collect()
}

fn counted(cache: RawCache, stats: &[Stat]) -> Vec<u64> {
    let found = cache.stats();
    stats.iter().map(|&stat| found.get(stat)).collect()
}

const OUT: [Stat; 3] = [Stat::SheafPrefillFast, Stat::SheafPrefillSlow, Stat::SheafPrefillOversize];
const BACK: [Stat; 3] = [Stat::SheafReturnFast, Stat::SheafReturnSlow, Stat::SheafReturnOversize];

/// A cache of each kind: usual sheaves, tiny ones, none at all, large objects, counted hits.
fn kinds() -> Vec<(&'static str, usize, CacheArgs)> {
    vec![
        ("usual", 64, args(0)),
        ("tiny", 256, args(4)),
        ("none", 64, CacheArgs { flags: SlabFlags::NOLEAKTRACE, ..args(0) }),
        ("large", 4096, args(0)),
        ("counted", 128, CacheArgs { count_hits: true, ..args(12) }),
    ]
}

/// I10: with every request for memory failing, n objects can be taken, and they are n different ones of the cache.
#[test]
fn i10_n_objects_while_all_memory_fails() {
    for (arena, switch) in every_failing_arena() {
        for (name, size, args) in kinds() {
            let cache = create(arena, name, size, &args);
            for n in [1, 3, 12, 60, 61, 700, 3000] {
                let mut sheaf = prefill(cache, n);
                assert!(sheaf.len() >= n && sheaf.len() <= sheaf.capacity(), "{name} {n}: {sheaf:?}");
                assert_eq!(sheaf.is_oversize(), n as u32 > cache.info().sheaf_capacity, "{name} {n}");
                audit(cache, 0);
                assert_eq!(cache.stats().in_prefilled, sheaf.len() as u64);
                switch.fail_now();
                // Nothing else is to be had beside the sheaf; what there was is taken first.
                let others = take_all(cache);
                assert!(cache.alloc(PLAIN).is_none() && cache.prefill(PLAIN, n.max(100)).is_err());
                let before = sheaf.len();
                let taken: Vec<_> = (0..before).map(|_| sheaf.alloc(PLAIN).expect("it was set aside")).collect();
                assert!(sheaf.alloc(PLAIN).is_none() && sheaf.is_empty());
                switch.heal();
                let all: HashSet<_> = taken.iter().chain(&others).collect();
                assert_eq!(all.len(), taken.len() + others.len(), "{name} {n}: an object was handed out twice");
                assert!(taken.iter().all(|object| cache.check(object.as_ptr()).is_ok()));
                audit(cache, taken.len() + others.len());
                sheaf.give_back();
                give(cache, taken);
                give(cache, others);
                audit(cache, 0);
            }
            assert_eq!(counted(cache, &OUT).iter().sum::<u64>(), 7);
            assert_eq!(counted(cache, &BACK).iter().sum::<u64>(), 7);
            end(cache);
        }
    }
}

/// E1: a prefill or refill that fails half-way flushes what it got; every number is as before.
#[test]
fn e1_a_failed_prefill_loses_nothing() {
    for (arena, switch) in every_failing_arena() {
        for (name, size, args) in kinds() {
            set_virtual_cpu(None);
            let cache = create(arena, name, size, &args);
            let capacity = cache.info().sheaf_capacity as usize;
            let kept = take_many(cache, 7);
            let mut failed = 0;
            for n in [capacity.max(1), capacity + 1, 2500] {
                for grants in 0..8 {
                    let _ = cache.shrink();
                    let before = cache.stats();
                    switch.fail_after(grants);
                    let got = cache.prefill(PLAIN, n);
                    switch.heal();
                    let Ok(sheaf) = got else {
                        assert!(matches!(got, Err(Error::OutOfMemory { what: "a prefilled sheaf", .. })), "{got:?}");
                        failed += 1;
                        audit(cache, kept.len());
                        let _ = cache.shrink();
                        audit_drained(cache, kept.len());
                        let after = cache.stats();
                        assert_eq!((after.slabs, after.prefilled, after.in_prefilled), (before.slabs, 0, 0), "{name}");
                        assert_eq!(sheaves(&after), sheaves(&before), "{name} {n}: a sheaf was lost");
                        assert_eq!(counted(cache, &OUT), OUT.map(|stat| before.get(stat)), "a failure is no prefill");
                        continue;
                    };
                    drop(sheaf);
                }
            }
            assert!(failed > 3, "{name}: only {failed} prefills failed");
            give(cache, kept);
            end(cache);
        }
    }
}

/// A refill that fails leaves the sheaf as it was; one that succeeds has n objects, in a larger sheaf where need be.
#[test]
fn refill_in_place_in_a_larger_one_and_not_at_all() {
    for (arena, switch) in every_failing_arena() {
        for (name, size, args) in kinds() {
            set_virtual_cpu(None);
            let cache = create(arena, name, size, &args);
            let capacity = cache.info().sheaf_capacity as usize;
            for (first, second) in
                [(1, capacity.max(1)), (capacity.max(1), capacity + 50), (capacity + 40, capacity + 10)]
            {
                let mut sheaf = prefill(cache, first);
                let mut held: Vec<_> = (0..first).map(|_| sheaf.alloc(PLAIN).expect("set aside")).collect();
                let others = {
                    switch.fail_now();
                    let others = take_all(cache);
                    let left = sheaf.len();
                    let error = sheaf.refill(PLAIN, second.max(left + 1)).expect_err("there is no memory");
                    assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
                    assert_eq!(sheaf.len(), left, "{name}: the old sheaf is intact");
                    audit(cache, held.len() + others.len());
                    held.extend(empty(&mut sheaf));
                    others
                };
                switch.heal();
                sheaf.refill(PLAIN, second).expect("memory");
                assert!(sheaf.len() >= second, "{name}: {sheaf:?} for {second}");
                audit(cache, held.len() + others.len());
                let before = sheaf.len();
                sheaf.refill(PLAIN, before).expect("nothing to do");
                assert_eq!(sheaf.len(), before);
                held.extend(empty(&mut sheaf));
                drop(sheaf);
                assert_eq!(held.iter().chain(&others).collect::<HashSet<_>>().len(), held.len() + others.len());
                give(cache, held);
                give(cache, others);
                audit(cache, 0);
            }
            end(cache);
        }
    }
}

#[test]
fn n_out_of_range_is_refused_with_its_range() {
    let arena = every_arena()[0];
    let cache = create(arena, "range", 64, &args(0));
    let mut sheaf = prefill(cache, 5);
    let before = sheaf.len();
    let beyond = u32::MAX as usize + 1;
    for n in [0, beyond, usize::MAX] {
        for error in
            [cache.prefill(PLAIN, n).map(drop).expect_err("refused"), sheaf.refill(PLAIN, n).expect_err("refused")]
        {
            let Error::BadArgument { argument: "n", value, legal, cache } = &error else { panic!("{error}") };
            assert_eq!((value, legal.as_str(), cache.as_str()), (&n.to_string(), "1 to 4294967295 objects", "range"));
        }
    }
    assert_eq!(sheaf.len(), before);
    // Legal, but more than the arena can ever hold: refused before memory for the pointers is touched.
    assert!(matches!(cache.prefill(PLAIN, u32::MAX as usize), Err(Error::OutOfMemory { .. })));
    drop(sheaf);
    audit(cache, 0);
    end(cache);
}

#[test]
fn options_are_honoured_when_objects_are_taken() {
    for arena in every_arena() {
        let cache = create(arena, "options", 200, &args(0));
        let dirty = take_many(cache, 100);
        for object in &dirty {
            // SAFETY: ours, of 200 bytes.
            unsafe { object.as_ptr().write_bytes(0xa5, 200) };
        }
        give(cache, dirty);
        for n in [20, 200] {
            let mut sheaf = prefill(cache, n);
            for _ in 0..n {
                let object = sheaf.alloc(AllocFlags::ZERO | AllocFlags::ACCOUNT).expect("set aside");
                // SAFETY: ours, of 200 bytes.
                let bytes = unsafe { std::slice::from_raw_parts(object.as_ptr(), 200) };
                assert!(bytes.iter().all(|&byte| byte == 0));
                // SAFETY: as above.
                unsafe { object.as_ptr().write_bytes(0x5a, 200) };
                give(cache, [object]);
            }
        }
        assert_eq!(cache.stats().get(Stat::Accounted), 220);
        end(cache);
    }
}

/// Threads prefill, take, refill and return on the same cache: every object is one thread's, and the books balance.
#[test]
fn threads_meet_on_one_cache() {
    for arena in every_arena() {
        let cache = create(arena, "threads", 48, &CacheArgs { count_hits: true, ..args(8) });
        std::thread::scope(|scope| {
            for thread in 0..4_u32 {
                scope.spawn(move || {
                    for round in 0..400_u32 {
                        set_virtual_cpu(Some(round + thread));
                        let n = 1 + (round * 7 + thread) as usize % 20;
                        let mut sheaf = prefill(cache, n);
                        let mut held: Vec<_> = (0..n).map(|_| sheaf.alloc(PLAIN).expect("set aside")).collect();
                        if round % 3 == 0 {
                            sheaf.refill(PLAIN, n).expect("memory");
                            held.extend(empty(&mut sheaf));
                        }
                        for object in &held {
                            // SAFETY: ours, of 48 bytes.
                            unsafe {
                                object.cast::<u64>().add(1).write(object.addr().get() as u64 ^ u64::from(thread))
                            };
                        }
                        if round % 50 == thread {
                            let _ = cache.shrink();
                        }
                        if round % 2 == 0 {
                            sheaf.give_back();
                        }
                        for object in held {
                            // SAFETY: as above.
                            let seen = unsafe { object.cast::<u64>().add(1).read() };
                            assert_eq!(seen, object.addr().get() as u64 ^ u64::from(thread), "somebody else's object");
                            give(cache, [object]);
                        }
                    }
                });
            }
        });
        audit(cache, 0);
        end(cache);
    }
}

#[test]
fn a_thread_may_return_what_another_one_got() {
    for arena in every_arena() {
        let cache = create(arena, "handed", 64, &args(0));
        for n in [5, 2000] {
            let mut sheaf = prefill(cache, n);
            let held = std::thread::spawn(move || {
                let taken = sheaf.alloc(PLAIN).expect("set aside").expose_provenance().get();
                drop(sheaf);
                taken
            });
            let held = NonNull::new(std::ptr::with_exposed_provenance_mut(held.join().unwrap())).unwrap();
            audit(cache, 1);
            give(cache, [held]);
        }
        end(cache);
    }
}

/// A forked child has its own copy of a sheaf, objects and all.
#[test]
fn a_forked_child_takes_from_its_own_copy() {
    for arena in every_arena() {
        let cache = create(arena, "forked", 64, &args(0));
        let mut sheaf = prefill(cache, 20);
        let code = in_child(|| {
            let mut got = 0;
            while sheaf.alloc(PLAIN).is_some() {
                got += 1;
            }
            if got < 20 || sheaf.refill(PLAIN, 30).is_err() || cache.stats().in_prefilled < 30 {
                return 1;
            }
            0
        });
        assert_eq!(code, 0);
        audit(cache, 0);
        assert!(empty(&mut sheaf).len() >= 20, "the child took none of ours");
        // The test's own accounts end here: what was taken above stays taken.
        std::mem::forget(sheaf);
    }
}
