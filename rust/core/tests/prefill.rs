//! Prefilled sheaves (K§2.16, E1, E7, I10): n objects can be taken whatever becomes of the memory, failures leave nothing behind,
//! every sheaf that goes out comes back under one counter.

mod support;

use haybarn::{
    AllocFlags, CacheArgs, Error, KmemCache, RawCache, RawPrefilled, SlabFlags, Stat, StaticCache, set_virtual_cpu,
};
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

/// Where a sheaf comes from and goes to, counter by counter (K§2.16).
#[test]
fn spare_barn_new_and_back() {
    for arena in every_arena() {
        let _stay = Pinned::to(0);
        set_virtual_cpu(Some(0));
        let cache = create(arena, "ways", 5000, &args(10));
        // No spare, no barn: a new one.
        let first = prefill(cache, 4);
        assert_eq!((first.len(), first.capacity()), (10, 10), "filled to its capacity");
        assert_eq!(counted(cache, &OUT), [0, 1, 0]);
        let made = cache.stats().get(Stat::SheafAlloc);
        let second = prefill(cache, 10);
        assert_eq!(cache.stats().get(Stat::SheafAlloc), made + 1);
        assert_eq!((cache.stats().prefilled, cache.stats().in_prefilled), (2, 20));
        // The first that comes back is the spare, the second goes to the barn.
        drop(first);
        assert_eq!((counted(cache, &BACK), cache.stats().barn), (vec![1, 0, 0], (0, 0)));
        drop(second);
        assert_eq!((counted(cache, &BACK), cache.stats().barn), (vec![1, 1, 0], (1, 0)));
        // And so they come again: the spare, then the barn's.
        let again = [prefill(cache, 10), prefill(cache, 10)];
        assert_eq!((counted(cache, &OUT), cache.stats().barn), (vec![1, 3, 0], (0, 0)));
        assert_eq!(cache.stats().get(Stat::SheafAlloc), made + 1, "no third sheaf was made");
        drop(again);
        // One that was used comes back full again, from partial slabs, or goes to the slabs.
        let mut used = prefill(cache, 10);
        let mut other = prefill(cache, 10);
        let held = [used.alloc(PLAIN).unwrap(), other.alloc(PLAIN).unwrap()];
        drop(used);
        assert_eq!(cache.stats().in_sheaves, 9, "a spare may be partly filled");
        let before = cache.stats();
        drop(other);
        let after = cache.stats();
        assert_eq!(after.get(Stat::BarnPut) - before.get(Stat::BarnPut), 1, "{after:?}");
        assert_eq!((after.barn.0, after.in_sheaves), (1, 19), "filled up before it went to the barn");
        audit(cache, 2);
        give(cache, held);
        assert_eq!(counted(cache, &[Stat::AllocPrefilled, Stat::SheafPrefillObjects, Stat::SheafReturnObjects])[0], 2);
        end(cache);
    }
}

/// A barn that has enough takes no more: what comes back is flushed and goes.
#[test]
fn a_full_barn_flushes_what_comes_back() {
    for arena in every_arena() {
        let _stay = Pinned::to(0);
        set_virtual_cpu(Some(0));
        let cache = create(arena, "enough", 4096, &args(0));
        let out: Vec<_> = (0..13).map(|_| prefill(cache, 1)).collect();
        audit(cache, 0);
        drop(out);
        let stats = cache.stats();
        assert_eq!(stats.barn.0, 10, "{stats:?}");
        assert_eq!(counted(cache, &BACK), [1, 12, 0]);
        assert_eq!(stats.get(Stat::BarnPutFail), 2);
        assert_eq!(stats.get(Stat::SheafFlush), 2 * u64::from(cache.info().sheaf_capacity));
        end(cache);
    }
}

/// Oversize sheaves are sheaves made and given back, in a block of their own or in whole pages.
#[test]
fn oversize_sheaves_are_counted_both_ways() {
    for arena in every_arena() {
        let cache = create(arena, "oversize", 32, &args(0));
        for n in [61, 1020, 1021, 40_000, 300_000] {
            let (before, used) = (cache.stats(), arena.info().used);
            let mut sheaf = prefill(cache, n);
            assert_eq!((sheaf.len(), sheaf.capacity(), sheaf.is_oversize()), (n, n, true));
            let out = cache.stats();
            assert_eq!(out.get(Stat::SheafAlloc), before.get(Stat::SheafAlloc) + 1);
            assert_eq!(out.get(Stat::SheafPrefillOversize), before.get(Stat::SheafPrefillOversize) + 1);
            let some: Vec<_> = (0..n / 2).map(|_| sheaf.alloc(PLAIN).unwrap()).collect();
            audit(cache, some.len());
            sheaf.give_back();
            let back = cache.stats();
            assert_eq!(back.get(Stat::SheafFree), before.get(Stat::SheafFree) + 1);
            assert_eq!(back.get(Stat::SheafReturnOversize), before.get(Stat::SheafReturnOversize) + 1);
            give(cache, some);
            audit(cache, 0);
            let _ = cache.shrink();
            assert_eq!(arena.info().used, used, "pages of an oversize sheaf of {n} stayed");
        }
        end(cache);
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

/// A sheaf that is out is neither drained nor listed as live, and keeps its cache; even an empty one does.
#[test]
fn destroy_shrink_and_validate_while_a_sheaf_is_out() {
    for arena in every_arena() {
        for n in [3, 500] {
            let cache = create(arena, "kept", 64, &args(8));
            let mut sheaf = prefill(cache, n);
            let _ = cache.shrink();
            assert_eq!(cache.validate(), Ok(()));
            assert_eq!(sheaf.len() as u64, cache.stats().in_prefilled, "a shrink drains what is the cache's only");
            // SAFETY: nobody else uses it; refused.
            let Err(error) = (unsafe { cache.destroy() }) else { panic!("not refused") };
            assert_eq!(
                error.to_string(),
                "cache 'kept' still has 1 prefilled sheaf/sheaves out: give them back, then destroy"
            );
            assert!(matches!(&error, Error::CacheBusy { live: 0, prefilled: 1, sample, .. } if sample.is_empty()));
            let held = sheaf.alloc(PLAIN).expect("the guarantee holds after the refusal");
            // SAFETY: as above.
            let Err(error) = (unsafe { cache.destroy() }) else { panic!("not refused") };
            let Error::CacheBusy { live: 1, prefilled: 1, sample, .. } = &error else { panic!("{error}") };
            assert!(sample.iter().any(|live| live.address == held.addr().get()));
            assert!(error.to_string().ends_with("and 1 prefilled sheaf/sheaves out: free and give back, then destroy"));
            give(cache, [held]);
            give(cache, empty(&mut sheaf));
            // SAFETY: as above.
            assert!(matches!(unsafe { cache.destroy() }, Err(Error::CacheBusy { live: 0, prefilled: 1, .. })));
            drop(sheaf);
            end(cache);
        }
    }
}

/// On a machine of two nodes a sheaf goes back to the barn of the node where it was got; options at the prefill say whether
/// another node's memory will do.
#[test]
fn nodes() {
    for arena in virtual_arenas(2, 2) {
        let cache = create(arena, "nodes", 64, &args(10));
        set_virtual_cpu(Some(0));
        let sheaf = prefill(cache, 10);
        set_virtual_cpu(Some(1));
        drop(sheaf);
        assert_eq!(counted(cache, &BACK), [0, 1, 0], "not the spare of a CPU of another node");
        let other = prefill(cache, 10);
        assert_eq!(cache.stats().barn.0, 1, "nor in that node's barn");
        set_virtual_cpu(Some(0));
        let again = prefill(cache, 10);
        assert_eq!(cache.stats().barn.0, 0);
        drop((other, again));
        audit(cache, 0);
        end(cache);
        set_virtual_cpu(None);
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

#[test]
fn typed_sheaves_give_boxes() {
    static NODES: StaticCache<[u64; 4]> = StaticCache::new("prefill-static");
    let Err(error) = NODES.prefill(1).map(drop) else { panic!("not set up") };
    assert!(matches!(error, Error::NotSetUp { .. }));
    NODES.setup(&CacheArgs::default()).unwrap();
    let mut sheaf = NODES.prefill(2).unwrap();
    let node = sheaf.alloc([7; 4]).unwrap();
    assert_eq!(*node, [7; 4]);
    drop(sheaf);
    drop(node);
    // SAFETY: everything is back.
    unsafe { NODES.destroy() }.unwrap();

    let cache = KmemCache::<String>::create("prefill-typed", &CacheArgs::default()).unwrap();
    let mut sheaf = cache.prefill(3).unwrap();
    let mut boxes = Vec::new();
    while !sheaf.is_empty() {
        boxes.push(sheaf.alloc(format!("object {}", boxes.len())).unwrap());
    }
    assert!(boxes.len() >= 3);
    let error = sheaf.alloc("one more".to_owned()).map(drop).expect_err("empty");
    assert!(matches!(&error, Error::SheafEmpty { cache } if cache == "prefill-typed"), "{error}");
    sheaf.refill(sheaf.capacity() + 1).unwrap();
    assert!(sheaf.len() > boxes.len());
    assert_eq!(*boxes[1], "object 1");
    let stats = cache.stats();
    assert_eq!((stats.objects, stats.prefilled), (boxes.len() as u64, 1));
    // The boxes are ordinary ones: they may outlive the sheaf.
    sheaf.give_back();
    drop(boxes);
    assert_eq!((cache.stats().objects, cache.stats().prefilled), (0, 0));
    cache.destroy().unwrap();
}

/// A typed cache whose sheaf was leaked stays for good, rather than go under it.
#[test]
fn a_leaked_sheaf_keeps_its_cache() {
    let cache = KmemCache::<u64>::create("prefill-leaked", &CacheArgs::default()).unwrap();
    std::mem::forget(cache.prefill(1).unwrap());
    let Err((error, cache)) = cache.destroy() else { panic!("not refused") };
    assert!(matches!(error, Error::CacheBusy { live: 0, prefilled: 1, .. }), "{error}");
    drop(cache);
}
