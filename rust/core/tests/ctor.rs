//! Constructors and destructors: counts, failures at every place, re-entry, panics, and what destroy waits for.

mod support;

use haybarn::{AllocFlags, CacheArgs, DtorMode, Error, Stat, set_virtual_cpu, take_ctor_error};
use std::sync::Arc;
use support::counting::*;
use support::*;

#[test]
fn every_object_is_constructed_once_and_destructed_once() {
    for arena in every_arena() {
        for encode_freeptr in [false, true] {
            let hooks = Counting::new();
            let cache = create(arena, "once", 100, &CacheArgs { encode_freeptr, ..hooks.args() });
            for round in 0..4 {
                let objects = take_many(cache, 1000);
                check(cache, &objects);
                audit(cache, objects.len());
                assert_eq!(hooks.alive() as u64, cache.stats().total_objects, "round {round}");
                give(cache, objects);
                let _ = cache.shrink();
                assert_eq!(hooks.alive(), 0);
            }
            {
                let book = hooks.book();
                assert_eq!((book.constructed, book.constructed >= 4000), (book.destructed, true));
            }
            end(cache);
            assert_eq!(Arc::strong_count(&hooks), 1, "the cache's end lets go of the hooks");
        }
    }
}

#[test]
fn a_failure_at_every_object_of_a_slab_unwinds_it() {
    for arena in every_arena() {
        let hooks = Counting::new();
        let cache = create(arena, "fails", 300, &hooks.args());
        let total = cache.info().objs_per_slab as usize;
        for k in 0..total {
            hooks.fail_after(k);
            assert!(cache.alloc(PLAIN).is_none());
            assert_eq!(said(), Some("no more of these"));
            assert!(take_ctor_error().is_none(), "the error is taken once");
            assert_eq!(state(cache, &hooks), [0; 5], "k = {k}");
            assert_eq!(hooks.book().failed, k + 1, "the first error ends the call");
            assert_eq!(cache.stats().get(Stat::AllocSlab), 0);
            assert_eq!(arena.info().used, 0, "the pages went back");
            audit_drained(cache, 0);
        }
        hooks.fail_after(None);
        let objects = take_many(cache, 2 * total);
        check(cache, &objects);
        give(cache, objects);
        end(cache);
        assert_eq!(hooks.alive(), 0);
    }
}

/// A refill that has objects of partial slabs when the constructor fails: they go back, nothing is counted as handed out.
#[test]
fn a_failure_in_a_refill_gives_back_what_it_had() {
    for arena in every_arena() {
        set_virtual_cpu(Some(0));
        let hooks = Counting::new();
        let cache = create(arena, "refill", 256, &CacheArgs { sheaf_capacity: 40, ..hooks.args() });
        let total = cache.info().objs_per_slab as usize;
        let mut kept = take_many(cache, 3 * total + 1);
        // A few free objects in each slab, fewer together than a sheaf wants.
        let freed: Vec<_> = (0..3).map(|slab| kept.swap_remove(slab * (total - 1))).collect();
        give(cache, freed);
        assert_eq!(cache.validate(), Ok(()));
        let rest = cache.stats().total_objects as usize - kept.len();
        let before = state(cache, &hooks);
        for k in 0..total {
            hooks.fail_after(k);
            // The slabs' free objects are not enough for a sheaf: a new slab is wanted, and fails.
            assert!(cache.alloc(PLAIN).is_none(), "k = {k}");
            assert_eq!(said(), Some("no more of these"));
            assert_eq!(state(cache, &hooks), before, "k = {k}");
            audit_drained(cache, kept.len());
        }
        hooks.fail_after(None);
        kept.extend(take_many(cache, rest + total));
        check(cache, &kept);
        give(cache, kept);
        end(cache);
        assert_eq!(hooks.alive(), 0);
        set_virtual_cpu(None);
    }
}

#[test]
fn a_failure_in_a_bulk_allocation_leaves_nothing() {
    for arena in every_arena() {
        set_virtual_cpu(Some(0));
        let hooks = Counting::new();
        let cache = create(arena, "bulk", 200, &hooks.args());
        let total = cache.info().objs_per_slab as usize;
        let kept = take_many(cache, 5);
        let warm = take_many(cache, 100);
        give(cache, warm);
        for k in 0..4 * total {
            let _ = cache.shrink();
            let before = state(cache, &hooks);
            hooks.fail_after(k);
            assert!(take_bulk(cache, 10 * total).is_none(), "k = {k}");
            assert_eq!(said(), Some("no more of these"));
            audit(cache, kept.len());
            let _ = cache.shrink();
            assert_eq!(state(cache, &hooks), before, "k = {k}: whole slabs that were got go with the shrink");
        }
        hooks.fail_after(None);
        let all = take_bulk(cache, 10 * total).unwrap();
        check(cache, &all);
        check(cache, &kept);
        give_bulk(cache, &all);
        give(cache, kept);
        end(cache);
        assert_eq!(hooks.alive(), 0);
        set_virtual_cpu(None);
    }
}

/// No try on other nodes either: the first error ends the call.
#[test]
fn a_failure_is_not_tried_again_on_another_node() {
    for arena in virtual_arenas(4, 2) {
        set_virtual_cpu(Some(0));
        let hooks = Counting::new();
        let cache = create(arena, "nodes", 256, &hooks.args());
        let object = take(cache);
        give(cache, [object]);
        assert_eq!(cache.validate(), Ok(()), "node 0 has free objects in its slabs");
        hooks.fail_after(0);
        for node in [1, 3] {
            assert!(cache.alloc_node(AllocFlags::THISNODE, node).is_none());
            assert!(cache.alloc_node(PLAIN, node).is_none());
        }
        set_virtual_cpu(Some(3));
        assert!(cache.alloc(PLAIN).is_none());
        assert!(take_bulk(cache, 3).is_none());
        // Each of these needed a slab, and asked for one once.
        let failed = hooks.book().failed;
        assert_eq!(failed, 6);
        hooks.fail_after(None);
        end(cache);
        set_virtual_cpu(None);
    }
}

#[test]
fn counts_balance_under_churn_of_threads() {
    for arena in every_arena() {
        let hooks = Counting::new();
        let cache = create(arena, "churned", 500, &CacheArgs { count_hits: true, ..hooks.args() });
        std::thread::scope(|scope| {
            for seed in 0..4_u64 {
                let hooks = &hooks;
                scope.spawn(move || {
                    set_virtual_cpu(Some(seed as u32 % 2));
                    let (mut held, mut state) = (Vec::new(), seed + 1);
                    for step in 0..3000 {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        match (state >> 33) % 16 {
                            0 => held.drain(..).for_each(|object| give(cache, [object])),
                            1 if seed == 0 => drop(cache.shrink()),
                            2 if step % 5 == 0 => hooks.fail_after((state >> 40) as usize % 30),
                            3 => hooks.fail_after(None),
                            4..=12 => held.extend(cache.alloc(PLAIN).inspect(|&object| check(cache, &[object]))),
                            _ => give(cache, held.pop()),
                        }
                    }
                    give(cache, held);
                });
            }
        });
        hooks.fail_after(None);
        audit_drained(cache, 0);
        let stats = cache.stats();
        let (ctor, dtor) = (stats.get(Stat::CtorObject), stats.get(Stat::DtorObject));
        assert_eq!(ctor - dtor, stats.total_objects, "constructed and not destructed: the objects of living slabs");
        {
            let book = hooks.book();
            assert_eq!((ctor, dtor), (book.constructed as u64, book.destructed as u64));
            assert_eq!(stats.get(Stat::CtorFail), book.failed as u64);
        }
        end(cache);
        let book = hooks.book();
        assert_eq!((book.alive.len(), book.constructed), (0, book.destructed));
    }
}

/// Pages and metadata that are out are no constructor's failure.
#[test]
fn memory_that_is_out_is_told_from_a_constructor_that_fails() {
    for (arena, switch) in every_failing_arena() {
        let hooks = Counting::new();
        let cache = create(arena, "scarce", 256, &hooks.args());
        hooks.fail_after(0);
        assert!(cache.alloc(PLAIN).is_none());
        switch.fail_now();
        assert!(cache.alloc(PLAIN).is_none());
        assert!(take_ctor_error().is_none(), "the last failure was for want of memory");
        switch.heal();
        assert!(cache.alloc(PLAIN).is_none());
        assert!(said().is_some());
        hooks.fail_after(None);
        for grants in 0..8 {
            switch.fail_after(grants);
            let _ = take_bulk(cache, 3000).map(|all| give_bulk(cache, &all));
            switch.heal();
            audit_drained(cache, 0);
            assert_eq!(hooks.alive() as u64, cache.stats().total_objects);
            let _ = cache.shrink();
        }
        end(cache);
        assert_eq!(hooks.alive(), 0);
    }
}

#[test]
fn zero_is_refused_where_objects_are_constructed() {
    for arena in every_arena() {
        let hooks = Counting::new();
        let cache = create(arena, "zeroed", 64, &hooks.args());
        let refused = |got: bool| {
            assert!(!got);
            match take_ctor_error().and_then(|error| error.0.downcast::<Error>().ok()).map(|error| *error) {
                Some(Error::BadArgument { cache, argument: "flags", .. }) => assert_eq!(cache, "zeroed"),
                other => panic!("{other:?}"),
            }
        };
        refused(cache.alloc(AllocFlags::ZERO).is_some());
        let objects = take_many(cache, 3);
        give(cache, objects);
        // Now there would be a hit.
        refused(cache.alloc(AllocFlags::ZERO).is_some());
        refused(cache.alloc_node(AllocFlags::ZERO, 0).is_some());
        refused(cache.alloc_level(AllocFlags::ZERO).is_some());
        refused(cache.alloc_bulk(AllocFlags::ZERO, &mut [std::ptr::null_mut(); 2]));
        audit_drained(cache, 0);
        end(cache);
    }
}

/// The free pointer lies outside of the object or where the owner says, and private bytes are nobody else's.
#[test]
fn what_is_constructed_stays_while_objects_are_free() {
    for arena in every_arena() {
        for (size, private_bytes, freeptr_offset, encode_freeptr) in [
            (8, 0, None, false),
            (50, 24, None, true),
            (8, 8, None, false),
            (96, 16, Some(88), true),
            (24, 4096, None, false),
        ] {
            let hooks = Counting::new();
            let args = CacheArgs { private_bytes, freeptr_offset, encode_freeptr, ..hooks.args() };
            let cache = create(arena, "kept", size, &args);
            let info = cache.info();
            assert_eq!(info.object_size, size);
            assert!(info.slab_size >= size.next_multiple_of(8) + private_bytes);
            assert!(
                freeptr_offset.is_some_and(|at| at == info.freeptr_offset)
                    || info.freeptr_offset >= size.next_multiple_of(8) + private_bytes
            );
            for _ in 0..3 {
                let objects = take_many(cache, 700);
                check(cache, &objects);
                for &object in &objects {
                    let last = size.next_multiple_of(8) + private_bytes - 8;
                    if private_bytes > 0 {
                        // SAFETY: the last private word of an object that is ours.
                        let word = unsafe { object.byte_add(last).cast::<u64>().as_mut() };
                        assert!(*word == 0 || *word == !mark(object), "somebody wrote to the private bytes");
                        *word = !mark(object);
                    }
                }
                give(cache, objects);
                // Out of the sheaves, so that free lists go through the objects.
                assert_eq!(cache.validate(), Ok(()));
            }
            end(cache);
            assert_eq!(hooks.alive(), 0);
        }
    }
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    let arena = every_arena()[0];
    let hooks = Counting::new();
    let refusal = |args: &CacheArgs| match haybarn::RawCache::create(arena, "odd", 64, args) {
        Err(Error::BadArgument { cache, argument, legal, .. }) => {
            assert!(cache == "odd" && !legal.is_empty());
            argument
        }
        other => panic!("{other:?}"),
    };
    let with = |change: fn(&mut CacheArgs)| {
        let mut args = hooks.args();
        change(&mut args);
        refusal(&args)
    };
    assert_eq!(with(|args| args.private_bytes = 12), "private_bytes");
    assert_eq!(with(|args| args.private_bytes = 4104), "private_bytes");
    assert_eq!(with(|args| (args.private_bytes, args.freeptr_offset) = (64, Some(64))), "freeptr_offset");
    assert_eq!(with(|args| args.freeptr_offset = Some(64)), "freeptr_offset");
    assert_eq!(with(|args| (args.hooks, args.private_bytes) = (None, 8)), "private_bytes");
    assert_eq!(with(|args| (args.hooks, args.dtor_mode) = (None, DtorMode::Manual)), "dtor_mode");
    assert_eq!(Arc::strong_count(&hooks), 1, "a cache that was not made keeps no hooks");
}
