//! Creating caches: every argument that is refused, with the text that a person reads; names and ids come and go.
//!
//! Source: K§3.1 and 3.2; where the kernel warns and goes on, here it is an error (docs/design.md).

mod support;

use haybarn::{AllocFlags, Arena, ArenaConfig, BackendKind, CacheArgs, Error, Form, RawCache, SlabFlags};
use std::collections::HashSet;
use std::panic::catch_unwind;
use support::*;

fn locked() -> &'static Arena {
    Arena::create(config(BackendKind::Locked, Form::Packed)).unwrap()
}

/// The argument that an error names, and its whole text.
#[track_caller]
fn refusal(made: Result<RawCache, Error>) -> (&'static str, String) {
    match made {
        Err(ref error @ Error::BadArgument { argument, ref legal, ref value, .. }) => {
            let text = error.to_string();
            assert!(
                !legal.is_empty() && text.contains(legal) && text.contains(value) && text.contains(argument),
                "{text}"
            );
            (argument, text)
        }
        other => panic!("{other:?} is not a refused argument"),
    }
}

#[test]
fn names() {
    let arena = locked();
    let make = |name: &str| RawCache::create(arena, name, 64, &CacheArgs::default());
    let long = "n".repeat(128);
    for name in [
        "",
        " ",
        "two words",
        "a/b",
        "/",
        "tab\there",
        "line\n",
        "nul\0",
        "bell\u{7}",
        "esc\u{85}",
        "no\u{a0}break",
        "line\u{2028}",
        &long,
    ] {
        let (argument, text) = refusal(make(name));
        assert_eq!(argument, "name");
        assert!(text.contains("1 to 127 bytes without space, '/' or control characters"), "{text}");
    }
    for name in ["x", &"n".repeat(127), "with-dash_and.dot:colon", "grüße-缓存", "%s%n"] {
        let cache = make(name).unwrap();
        assert_eq!(cache.info().name, name);
        end(cache);
    }
}

#[test]
fn a_name_is_taken_until_its_cache_is_gone() {
    let arena = locked();
    let first = create(arena, "twice", 64, &CacheArgs::default());
    let (argument, text) = refusal(RawCache::create(arena, "twice", 128, &CacheArgs::default()));
    assert_eq!((argument, text.contains("no living cache has")), ("name", true), "{text}");
    // Another arena has names of its own.
    end(create(locked(), "twice", 64, &CacheArgs::default()));
    let object = take(first);
    // SAFETY: nobody else uses it.
    assert!(matches!(unsafe { first.destroy() }, Err(Error::CacheBusy { live: 1, .. })));
    refusal(RawCache::create(arena, "twice", 64, &CacheArgs::default()));
    give(first, [object]);
    end(first);
    end(create(arena, "twice", 4096, &CacheArgs::default()));
}

#[test]
fn sizes() {
    let arena = locked();
    let make = |size| RawCache::create(arena, "sized", size, &CacheArgs::default());
    for size in [0, (4 << 20) + 1, 1 << 32, usize::MAX - 4096, usize::MAX - 7, usize::MAX] {
        let (argument, text) = refusal(make(size));
        assert_eq!(argument, "object_size");
        assert!(text.contains("1 to 4194304 bytes") && text.contains("cache 'sized'"), "{text}");
    }
    for size in [1, 7, 8, 4095, 4096, 4097, 4 << 20] {
        let cache = make(size).unwrap();
        assert_eq!(cache.object_size(), size);
        let object = take(cache);
        give(cache, [object]);
        end(cache);
    }
}

#[test]
fn alignments() {
    let arena = locked();
    let make = |align, size| RawCache::create(arena, "aligned", size, &CacheArgs { align, ..CacheArgs::default() });
    for align in [3, 6, 12, 24, 4095, 8192, 1 << 40, usize::MAX, 1 << 63] {
        let (argument, text) = refusal(make(align, 64));
        assert_eq!(argument, "align");
        assert!(text.contains("0 or a power of two up to 4096 bytes"), "{text}");
    }
    for shift in 0..=12 {
        let align = 1 << shift;
        let cache = make(align, 24).unwrap();
        let objects = take_many(cache, 20);
        assert!(objects.iter().all(|object| object.addr().get().is_multiple_of(align.max(8))));
        give(cache, objects);
        end(cache);
    }
    // Alignment rounds the stride up; the largest size still fits.
    end(make(4096, 4 << 20).unwrap());
}

#[test]
fn flags() {
    let arena = locked();
    let make = |flags| RawCache::create(arena, "flagged", 64, &CacheArgs { flags, ..CacheArgs::default() });
    for row in SlabFlags::TABLE {
        if SlabFlags::ACCEPTED_NOW.contains(row.flag) {
            let cache = make(row.flag).unwrap();
            assert!(cache.info().flags.contains(row.flag));
            end(cache);
        } else {
            let (argument, text) = refusal(make(row.flag));
            assert_eq!(argument, "flags");
            assert!(text.contains(row.name) && text.contains("flags that caches take by now: HWCACHE_ALIGN"), "{text}");
        }
    }
    refusal(make(SlabFlags::from_bits_retain(1 << 30)));
}

#[test]
fn capacities_and_orders() {
    let arena = locked();
    let make = |args| RawCache::create(arena, "ranged", 64, &args);
    for sheaf_capacity in [1021, 4096, u32::MAX] {
        let (argument, text) = refusal(make(CacheArgs { sheaf_capacity, ..CacheArgs::default() }));
        assert_eq!((argument, text.contains("0 to 1020 objects")), ("sheaf_capacity", true), "{text}");
    }
    for min_order in [10, 200, u8::MAX] {
        let (argument, text) = refusal(make(CacheArgs { min_order, ..CacheArgs::default() }));
        assert_eq!((argument, text.contains("0 to 9")), ("min_order", true), "{text}");
    }
    // A capacity of one's own forbids merging, and cannot lower the formula's.
    for (asked, got) in [(0, 60), (1, 60), (61, 61), (1020, 1020)] {
        let cache = make(CacheArgs { sheaf_capacity: asked, ..CacheArgs::default() }).unwrap();
        let info = cache.info();
        assert_eq!((info.sheaf_capacity, info.flags.contains(SlabFlags::NO_MERGE)), (got, asked != 0));
        end(cache);
    }
    for min_order in 0..=9 {
        // Small objects stop at 32767 of a slab, so larger ones.
        let args = CacheArgs { min_order, ..CacheArgs::default() };
        let cache = RawCache::create(arena, "ordered", 1000, &args).unwrap();
        assert!(cache.info().order >= min_order);
        let object = take(cache);
        give(cache, [object]);
        end(cache);
    }
}

#[test]
fn free_pointer_offsets() {
    let arena = locked();
    for freeptr_offset in [0, 8, 63, 64, usize::MAX] {
        let args = CacheArgs { freeptr_offset: Some(freeptr_offset), ..CacheArgs::default() };
        let (argument, text) = refusal(RawCache::create(arena, "placed", 64, &args));
        assert_eq!(argument, "freeptr_offset");
        assert!(text.contains("unless the cache is TYPESAFE_BY_RCU or has a constructor"), "{text}");
    }
}

#[test]
fn panic_flag_panics_with_the_error() {
    let arena = locked();
    let args = CacheArgs { flags: SlabFlags::PANIC, ..CacheArgs::default() };
    let panic = catch_unwind(|| RawCache::create(arena, "fatal", 0, &args)).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("SLAB_PANIC") && text.contains("'fatal'") && text.contains("object_size"), "{text}");
    // Out of memory too; and a panic leaves the registry usable.
    let (source, switch) = haybarn::failing_source();
    let failing = Arena::create(ArenaConfig { source, ..config(BackendKind::Locked, Form::Packed) }).unwrap();
    switch.fail_now();
    catch_unwind(|| RawCache::create(failing, "fatal", 64, &args)).unwrap_err();
    switch.heal();
    end(create(failing, "fatal", 64, &args));
    end(create(arena, "fatal", 64, &args));
}

#[test]
fn arenas_refuse_what_they_cannot_be() {
    let virtual_ = || ArenaConfig { cpus: Some(4), ..config(BackendKind::Virtual, Form::Packed) };
    let cases: [(&str, &str, ArenaConfig); 8] = [
        ("cpus", "1 to 1024", ArenaConfig { cpus: Some(0), ..virtual_() }),
        ("cpus", "1 to 1024", ArenaConfig { cpus: Some(1025), ..virtual_() }),
        ("nodes", "1 to 64", ArenaConfig { nodes: 65, ..virtual_() }),
        ("nodes", "1 to 64", ArenaConfig { nodes: u32::MAX, ..virtual_() }),
        ("min_order", "0 to 9", ArenaConfig { min_order: 10, ..virtual_() }),
        ("cpus", "virtual", ArenaConfig { cpus: Some(2), ..config(BackendKind::Locked, Form::Packed) }),
        ("nodes", "1 to 64", ArenaConfig { nodes: 65, ..config(BackendKind::Locked, Form::Packed) }),
        ("nodes", "1 to 64", ArenaConfig { nodes: 65, ..config(BackendKind::Rseq, Form::Packed) }),
    ];
    for (name, text, config) in cases {
        match Arena::create(config) {
            Err(Error::BadArgument { argument, legal, .. }) => {
                assert!(argument == name && legal.contains(text), "{argument}: {legal}");
            }
            Err(Error::Unavailable { .. }) if name == "nodes" => {}
            other => panic!("{name}: {other:?}"),
        }
    }
    assert!("lockfree".parse::<BackendKind>().unwrap_err().to_string().contains("rseq, locked or virtual"));
    // An arena's least order holds for all of its caches.
    let arena = Arena::create(ArenaConfig { min_order: 4, ..virtual_() }).unwrap();
    let cache = create(arena, "raised", 64, &CacheArgs::default());
    assert_eq!(cache.info().order, 4);
    end(cache);
}

#[test]
fn a_thousand_caches_come_and_go_and_leave_nothing() {
    for arena in every_arena().into_iter().step_by(2) {
        let mut metadata = Vec::new();
        for round in 0..3 {
            let names: Vec<_> = (0..1000).map(|n| format!("cache-{n}")).collect();
            let caches: Vec<_> = names
                .iter()
                .enumerate()
                .map(|(n, name)| create(arena, name, 8 + n * 4, &CacheArgs::default()))
                .collect();
            assert_eq!(arena.cache_names(), names);
            for &cache in &caches {
                give(cache, [cache.alloc(AllocFlags::ZERO).unwrap()]);
            }
            // Every other one first, so that ids come back in another order.
            for cache in caches.iter().step_by(2).chain(caches.iter().skip(1).step_by(2)) {
                // SAFETY: nobody else uses it.
                unsafe { cache.destroy() }.unwrap();
            }
            assert!(arena.cache_names().is_empty());
            assert_eq!(arena.info().used, 0, "{} round {round}", arena.backend());
            metadata.push(arena.info().metadata);
        }
        assert_eq!(metadata[1], metadata[2], "{}: metadata is not reused", arena.backend());
    }
}

/// An id that is used again names the new cache: objects of the one are not those of the other.
#[test]
fn ids_are_used_again() {
    let arena = locked();
    let (stays, goes) =
        (create(arena, "stays", 64, &CacheArgs::default()), create(arena, "goes", 64, &CacheArgs::default()));
    let object = take(stays);
    let stale = take(goes);
    give(goes, [stale]);
    end(goes);
    assert!(matches!(stays.check(stale.as_ptr()), Err(Error::BadPointer { .. })));
    let seen: HashSet<_> = (0..70_000)
        .map(|n| {
            // More than there are ids.
            let cache = create(arena, "again", 64 + n % 7, &CacheArgs::default());
            if n % 10_000 == 0 {
                assert!(
                    matches!(cache.check(object.as_ptr()), Err(Error::WrongCache { owner, .. }) if owner == "stays")
                );
                let own = take(cache);
                assert!(matches!(stays.check(own.as_ptr()), Err(Error::WrongCache { owner, .. }) if owner == "again"));
                give(cache, [own]);
            }
            // SAFETY: nobody else uses it.
            unsafe { cache.destroy() }.unwrap();
            arena.info().metadata
        })
        .collect();
    assert!(seen.len() < 5, "metadata grows with every cache: {seen:?}");
    give(stays, [object]);
    end(stays);
}

#[test]
fn threads_create_and_destroy_at_once() {
    for arena in every_arena() {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for n in 0..100 {
                        let cache = create(arena, &format!("t{thread}-{n}"), 16 << (n % 8), &CacheArgs::default());
                        let objects = take_many(cache, 70);
                        give(cache, objects);
                        end(cache);
                    }
                });
            }
        });
        assert!(arena.cache_names().is_empty());
    }
}
