//! Where prefilled sheaves come from and go to, counter by counter; what a cache says and refuses while one is out; typed ones.

mod support;

use haybarn::{CacheArgs, Error, KmemCache, RawCache, RawPrefilled, Stat, StaticCache, set_virtual_cpu};
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

/// A sheaf that is out is neither drained nor listed as live, and keeps its cache; even an empty one does.
#[test]
fn destroy_shrink_and_validate_while_a_sheaf_is_out() {
    for arena in every_arena() {
        for n in [3, 500, 5000] {
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
            assert_eq!(sample.iter().map(|live| live.address).collect::<Vec<_>>(), [held.addr().get()]);
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

#[test]
fn typed_sheaves_give_boxes() {
    static NODES: StaticCache<[u64; 4]> = StaticCache::new("prefill-static");
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
