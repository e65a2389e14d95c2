//! Memory that is out, at every place where it can be: calls fail or go another way, nothing is lost, and all works again once
//! there is memory. With the kernel's invariants I10 and I11 (K§11); docs/faults.md lists them.

mod support;

use haybarn::{
    AllocFlags, Arena, ArenaConfig, BackendKind, CacheArgs, RawCache, Source, Stat, failing_source, set_virtual_cpu,
};
use support::*;

fn on(cpu: u32) {
    set_virtual_cpu(Some(cpu));
}

fn args(sheaf_capacity: u32) -> CacheArgs {
    CacheArgs { sheaf_capacity, ..CacheArgs::default() }
}

/// Bulk allocation under injected failure: all or nothing, and nothing leaves every count as it was.
#[test]
fn i11_bulk_alloc_is_all_or_nothing() {
    for (arena, switch) in every_failing_arena() {
        for count_hits in [false, true] {
            on(0);
            let cache = create(arena, "i11", 256, &CacheArgs { count_hits, ..args(20) });
            let kept = take_many(cache, 77);
            let warm = take_many(cache, 500);
            give(cache, warm);
            for grants in 0..10 {
                let _ = cache.shrink();
                audit_drained(cache, kept.len());
                let before = cache.stats();
                switch.fail_after(grants);
                assert!(take_bulk(cache, 1000).is_none(), "{grants} slabs are too few for 1000 objects");
                switch.heal();
                audit(cache, kept.len());
                // The slabs that were got and not needed are whole again and go.
                let _ = cache.shrink();
                audit_drained(cache, kept.len());
                let after = cache.stats();
                assert_eq!((after.slabs, after.total_objects), (before.slabs, before.total_objects));
                // With objects in main, spare and barn, which the failed call takes first.
                let some = take_many(cache, 130);
                give(cache, some);
                switch.fail_after(grants);
                assert!(take_bulk(cache, 1200).is_none());
                switch.heal();
                audit(cache, kept.len());
                let all = take_bulk(cache, 1000).unwrap();
                audit(cache, kept.len() + 1000);
                give_bulk(cache, &all);
            }
            give(cache, kept);
            end(cache);
        }
    }
}

/// No memory for a sheaf, a descriptor or the cache itself: the call fails, everything stays, and works once memory is there.
#[test]
fn failing_metadata_while_a_cache_is_made() {
    for form in FORMS {
        let (source, switch) = failing_source();
        let config = ArenaConfig { cpus: Some(100), source, ..config(BackendKind::Virtual, form) };
        let arena = Arena::create(config).unwrap();
        let mut grants = 0;
        let cache = loop {
            switch.fail_after(grants);
            // 100 sheaves of 1020 objects do not come with one grant.
            match RawCache::create(arena, "made", 64, &args(1020)) {
                Ok(cache) => break cache,
                Err(error) => {
                    assert!(matches!(error, haybarn::Error::OutOfMemory { .. }), "{error}");
                    assert!(error.to_string().contains("cache 'made'"), "{error}");
                    assert!(arena.cache_names().is_empty());
                    grants += 1;
                }
            }
            assert!(grants < 1000);
        };
        // Each failed try leaves its metadata in the pools, so the tries add up.
        assert!(grants > 5, "only {grants} tries failed");
        switch.heal();
        assert_eq!(arena.cache_names(), [cache.info().name]);
        let objects = take_many(cache, 3000);
        audit(cache, 3000);
        give(cache, objects);
        end(cache);
        // What was given back serves the next one without any memory.
        switch.fail_now();
        let again = create(arena, "again", 64, &args(1020));
        switch.heal();
        end(again);
    }
}

#[test]
fn failing_metadata_of_a_slab() {
    for (arena, switch) in every_failing_arena() {
        let cache = create(arena, "descriptor", 64, &args(0));
        // One grant at a time: metadata that was granted stays in its pool, so that the next try gets one step further.
        let mut failed = 0;
        let first = loop {
            switch.fail_after(failed.min(1));
            let Some(object) = cache.alloc(PLAIN) else {
                audit(cache, 0);
                assert_eq!((cache.stats().slabs, cache.stats().get(Stat::AllocSlab)), (0, 0));
                switch.fail_now();
                assert!(take_bulk(cache, 5).is_none());
                audit(cache, 0);
                failed += 1;
                assert!(failed < 10);
                continue;
            };
            break object;
        };
        assert!(failed >= 2, "{failed}");
        give(cache, [first]);
        switch.heal();
        let objects = take_many(cache, 100);
        audit(cache, 100);
        give(cache, objects);
        end(cache);
    }
}

/// No memory for an empty sheaf when main is full: the free succeeds all the same.
#[test]
fn failing_metadata_of_a_sheaf_while_freeing() {
    for (arena, switch) in every_failing_arena() {
        on(0);
        // Sheaves of 1020 objects come two by two, so that the pool is soon empty.
        let cache = create(arena, "sheaf", 64, &args(1020));
        for _ in 0..3 {
            let objects = take_many(cache, 6000);
            switch.fail_now();
            give(cache, objects);
            audit(cache, 0);
            switch.heal();
            let objects = take_many(cache, 6000);
            audit(cache, 6000);
            switch.fail_now();
            give_bulk(cache, &objects);
            switch.heal();
            exhaust(cache, &switch, 0);
        }
        end(cache);
    }
}

/// When the range is nearly full, pages of the preferred order are not to be had: the smallest order serves, and is counted.
#[test]
fn slabs_of_the_smallest_order_when_pages_are_scarce() {
    for form in FORMS {
        let config = ArenaConfig { reserve: 2 << 20, ..config(BackendKind::Locked, form) };
        let arena = arena(ArenaConfig { source: Source::Anonymous, ..config }).unwrap();
        let page = arena.alloc_pages(4096).unwrap();
        let cache = create(arena, "scarce", 1000, &args(0));
        assert!(cache.info().order > 0);
        let objects: Vec<_> = std::iter::from_fn(|| cache.alloc(PLAIN)).collect();
        let stats = cache.stats();
        assert!(stats.get(Stat::OrderFallback) > 0);
        assert!(stats.total_objects < stats.slabs * u64::from(cache.info().objs_per_slab));
        audit(cache, objects.len());
        give(cache, objects);
        end(cache);
        // SAFETY: ours.
        unsafe { arena.free_pages(page) }.unwrap();
    }
}

/// THISNODE fails rather than to take another node's memory; without it the other node serves.
#[test]
fn a_node_that_is_out_of_memory() {
    for form in FORMS {
        let (source, switch) = failing_source();
        let config = ArenaConfig { cpus: Some(4), nodes: 2, source, ..config(BackendKind::Virtual, form) };
        let arena = Arena::create(config).unwrap();
        let cache = create(arena, "nodes", 256, &args(0));
        on(0);
        let mut objects = vec![take(cache)];
        assert_eq!(cache.validate(), Ok(()));
        let free = cache.stats().total_objects - 1;
        switch.fail_now();
        on(3);
        assert!(cache.alloc(AllocFlags::THISNODE).is_none());
        assert!(cache.alloc_node(AllocFlags::THISNODE, 1).is_none());
        on(0);
        assert!(cache.alloc_node(AllocFlags::THISNODE, 1).is_none());
        let elsewhere = cache.alloc_node(PLAIN, 1).expect("node 0 has free objects");
        on(3);
        objects.extend([elsewhere, cache.alloc(PLAIN).expect("node 0 has free objects")]);
        on(0);
        objects.extend(std::iter::from_fn(|| cache.alloc(AllocFlags::THISNODE)));
        assert_eq!(objects.len() as u64, 1 + free);
        assert!(cache.alloc(PLAIN).is_none());
        switch.heal();
        let before = cache.stats().get(Stat::AllocNodeMismatch);
        objects.push(cache.alloc_node(AllocFlags::THISNODE, 1).unwrap());
        assert_eq!(cache.stats().get(Stat::AllocNodeMismatch), before + 1);
        audit(cache, objects.len());
        on(1);
        give(cache, objects);
        end(cache);
    }
}
