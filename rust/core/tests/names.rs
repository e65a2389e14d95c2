//! Names that share storage: made and destroyed in any order, which they share with, what each says of itself.

mod support;

use haybarn::{AllocFlags, Arena, ArenaConfig, BackendKind, CacheArgs, CacheName, Error, Form, RawCache, SlabFlags};
use std::ptr::NonNull;
use std::sync::Arc;
use support::*;

fn locked() -> &'static Arena {
    Arena::create(config(BackendKind::Locked, Form::Packed)).unwrap()
}

fn name(arena: &'static Arena, name: &str, size: usize) -> CacheName {
    CacheName::create(arena, name, size, &CacheArgs::default()).unwrap()
}

fn gone(name: &CacheName) {
    // SAFETY: nobody uses its handles.
    unsafe { name.destroy() }.unwrap();
}

fn raw(name: &CacheName) -> RawCache {
    // SAFETY: each test ends its handles before the names.
    unsafe { name.raw() }
}

fn texts<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).to_vec()
}

/// Every order in which four things can be taken.
fn orders() -> Vec<[usize; 4]> {
    let mut all = Vec::new();
    for code in 0..256 {
        let order = [code & 3, code >> 2 & 3, code >> 4 & 3, code >> 6 & 3];
        if (0..4).all(|n| order.contains(&n)) {
            all.push(order);
        }
    }
    assert_eq!(all.len(), 24);
    all
}

#[test]
fn names_end_in_any_order_and_the_storage_with_the_last() {
    for arena in every_arena() {
        for order in orders() {
            let names: Vec<_> = ["a", "b", "c", "d"].map(|text| name(arena, text, 64)).into();
            let storage = raw(&names[0]);
            assert!(names.iter().all(|name| raw(name) == storage));
            // An object of each, live until after its name's end.
            let objects: Vec<_> = names.iter().map(|name| take(raw(name))).collect();
            let mut living: Vec<usize> = (0..4).collect();
            for (done, &n) in order.iter().enumerate() {
                for &m in &living {
                    assert_eq!(names[m].primary().as_deref(), Some(names[living[0]].name()));
                    assert_eq!(names[m].is_primary(), m == living[0]);
                    let others =
                        living.iter().filter(|&&other| other != m).map(|&other| names[other].name().to_owned());
                    assert_eq!(names[m].aliases(), others.collect::<Vec<_>>());
                }
                if done == 3 {
                    // SAFETY: nobody uses the handles meanwhile.
                    let busy = unsafe { names[n].destroy() };
                    let Err(Error::CacheBusy { cache, live: 4, .. }) = busy else { panic!("{busy:?}") };
                    assert_eq!(cache, names[n].name());
                    assert!(names[n].is_living() && names[n].is_primary());
                    give(storage, objects.iter().copied());
                }
                gone(&names[n]);
                living.retain(|&m| m != n);
                assert_eq!((names[n].is_living(), names[n].primary(), names[n].aliases()), (false, None, Vec::new()));
                let left = living.iter().map(|&m| names[m].name().to_owned()).collect::<Vec<_>>();
                assert_eq!(arena.cache_names(), left);
                if done < 3 {
                    // Of whatever name it was, the object is whole.
                    assert_eq!(storage.stats().objects, 4);
                    storage.validate().unwrap();
                }
            }
        }
    }
}

#[test]
fn a_name_can_be_made_again_while_its_storage_lives_on() {
    let arena = locked();
    let (first, second) = (name(arena, "first", 100), name(arena, "second", 104));
    gone(&first);
    // Another size: another storage, under the old name.
    let other = name(arena, "first", 2000);
    assert_ne!(raw(&other), raw(&second));
    assert_eq!((second.primary(), other.primary()), (Some("second".into()), Some("first".into())));
    // SAFETY: it was destroyed before: nothing happens.
    assert_eq!(unsafe { first.destroy() }, Err(Error::Destroyed { cache: "first".into() }));
    assert!(other.is_living());
    assert!(!other.is(&first) && other.is(&other.keeping_nothing()));
    gone(&other);
    let again = name(arena, "first", 97);
    assert_eq!((again.primary(), second.aliases()), (Some("second".into()), texts(["first"])));
    gone(&second);
    gone(&again);
    assert!(arena.names().is_empty());
}

#[test]
fn a_taken_name_is_refused_whatever_it_shares() {
    let arena = locked();
    let (first, second) = (name(arena, "first", 64), name(arena, "second", 64));
    for (text, size) in [("first", 64), ("second", 64), ("second", 4096)] {
        let refused = CacheName::create(arena, text, size, &CacheArgs::default());
        assert!(matches!(refused, Err(Error::BadArgument { argument: "name", .. })), "{refused:?}");
    }
    let alone = RawCache::create(arena, "second", 64, &CacheArgs::default());
    assert!(matches!(alone, Err(Error::BadArgument { argument: "name", .. })), "{alone:?}");
    gone(&first);
    gone(&second);
}

#[test]
fn the_oldest_that_fits_is_chosen() {
    let arena = locked();
    // Fits neither: 8 bytes too large, and 8 too small.
    let (wide, narrow) = (name(arena, "wide", 72), name(arena, "narrow", 56));
    let aligned = CacheArgs { align: 64, ..CacheArgs::default() };
    let old = CacheName::create(arena, "old", 40, &aligned).unwrap();
    assert_eq!(old.info().slab_size, 64);
    // 40 bytes on their own get a stride of 40.
    let small = name(arena, "small", 40);
    let of_64 = name(arena, "of-64", 64);
    assert_eq!((small.aliases(), of_64.primary()), (Vec::new(), Some("old".into())));
    assert_eq!(old.aliases(), texts(["of-64"]));
    // The older of two that would do: one that came later, apart from the first as long as a fault was about it.
    let fault = haybarn::fault::FaultAttr { probability: 0.0, ..Default::default() };
    let guard = haybarn::fault::fail_slab(Some(raw(&wide)), fault).unwrap();
    let later = name(arena, "later", 72);
    assert_ne!(raw(&later), raw(&wide));
    drop(guard);
    let third = name(arena, "third", 66);
    assert_eq!(third.primary().as_deref(), Some("wide"));
    for name in [wide, narrow, old, small, of_64, later, third] {
        gone(&name);
    }
}

#[test]
fn a_fault_about_a_shared_cache_is_refused() {
    let arena = locked();
    let (first, second) = (name(arena, "first", 64), name(arena, "second", 64));
    let refused = haybarn::fault::fail_slab(Some(raw(&second)), haybarn::fault::FaultAttr::default());
    let text = refused.map(|_| ()).unwrap_err().to_string();
    assert!(text.contains("NO_MERGE") && text.contains("second"), "{text}");
    let object = take(raw(&first));
    give(raw(&first), [object]);
    gone(&first);
    drop(haybarn::fault::fail_slab(Some(raw(&second)), haybarn::fault::FaultAttr::default()).unwrap());
    gone(&second);
}

#[test]
fn what_keeps_a_cache_apart() {
    let arena = locked();
    let plain = name(arena, "plain", 64);
    let base = CacheArgs::default;
    let apart = [
        CacheArgs { flags: SlabFlags::NO_MERGE, ..base() },
        CacheArgs { flags: SlabFlags::TYPESAFE_BY_RCU, ..base() },
        CacheArgs { flags: SlabFlags::NOLEAKTRACE, ..base() },
        CacheArgs { sheaf_capacity: 60, ..base() },
        CacheArgs { min_order: 1, ..base() },
        CacheArgs { usercopy: Some((0, 64)), ..base() },
        CacheArgs { usercopy: Some((0, 0)), ..base() },
        CacheArgs { count_hits: true, ..base() },
        CacheArgs { encode_freeptr: true, ..base() },
    ];
    for args in &apart {
        let made = CacheName::create(arena, "apart", 64, args).unwrap();
        // A second of the same kind shares neither with it nor with the plain one.
        let twin = CacheName::create(arena, "twin", 64, args).unwrap();
        let late = name(arena, "late", 64);
        assert_ne!(raw(&made), raw(&plain), "{args:?}");
        assert_ne!(raw(&made), raw(&twin), "{args:?}");
        assert_eq!((made.is_primary(), made.aliases()), (true, Vec::new()));
        assert_eq!(raw(&late), raw(&plain));
        [made, twin, late].iter().for_each(gone);
    }
    // Nor does one that was made by itself.
    let alone = RawCache::create(arena, "alone", 72, &base()).unwrap();
    let other = name(arena, "other", 72);
    assert_ne!(raw(&other), alone);
    assert_eq!(arena.cache_names(), texts(["plain", "alone", "other"]));
    end(alone);
    gone(&other);
    gone(&plain);
}

#[test]
fn kinds_must_be_the_same() {
    let arena = locked();
    let kinds = [SlabFlags::empty(), SlabFlags::RECLAIM_ACCOUNT, SlabFlags::CACHE_DMA, SlabFlags::CACHE_DMA32];
    let make = |text: String, flags| CacheName::create(arena, &text, 64, &CacheArgs { flags, ..CacheArgs::default() });
    let first: Vec<_> = kinds.iter().enumerate().map(|(n, &kind)| make(format!("first-{n}"), kind).unwrap()).collect();
    for (n, &kind) in kinds.iter().enumerate() {
        // Of no influence.
        let same = make(format!("second-{n}"), kind | SlabFlags::DEBUG_OBJECTS | SlabFlags::NO_USER_FLAGS).unwrap();
        assert_eq!(same.primary().as_deref(), Some(first[n].name()));
        gone(&same);
    }
    first.iter().for_each(gone);
}

#[test]
fn usercopy_regions_lie_inside_the_object() {
    let arena = locked();
    let make = |usercopy| {
        CacheName::create(arena, "region", 100, &CacheArgs { usercopy: Some(usercopy), ..CacheArgs::default() })
    };
    for region in [(0, 0), (0, 100), (99, 1), (40, 60)] {
        let made = make(region).unwrap();
        assert_eq!(made.usercopy(), Some(region));
        gone(&made);
    }
    for (region, wrong) in [
        ((1, 0), "useroffset"),
        ((101, 1), "useroffset"),
        ((usize::MAX, 2), "useroffset"),
        ((0, 101), "usersize"),
        ((99, 2), "usersize"),
        ((1, usize::MAX), "usersize"),
    ] {
        let refused = make(region);
        let Err(Error::BadArgument { argument, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(argument, wrong, "{region:?}");
    }
}

type Take = Box<dyn Fn() -> NonNull<u8>>;

/// The ways in which one zeroed object can be had; each looks for itself how much to clear.
fn zeroed(cache: RawCache) -> [(&'static str, Take); 5] {
    [
        ("alloc", Box::new(move || cache.alloc(AllocFlags::ZERO).unwrap())),
        ("alloc_node", Box::new(move || cache.alloc_node(AllocFlags::ZERO, 0).unwrap())),
        (
            "alloc_bulk",
            Box::new(move || {
                let mut out = [std::ptr::null_mut()];
                assert!(cache.alloc_bulk(AllocFlags::ZERO, &mut out));
                NonNull::new(out[0]).unwrap()
            }),
        ),
        ("alloc_nolock", Box::new(move || cache.alloc_nolock(AllocFlags::ZERO).unwrap())),
        ("alloc_node_nolock", Box::new(move || cache.alloc_node_nolock(AllocFlags::ZERO, 0).unwrap())),
    ]
}

#[test]
fn zero_clears_what_the_largest_name_shows() {
    let arena = locked();
    let _pinned = Pinned::to(0);
    let (small, large) = (name(arena, "small", 57), name(arena, "large", 64));
    for name in [&small, &large, &small] {
        for (way, zeroed) in zeroed(raw(name)) {
            let object = take(raw(name));
            // SAFETY: the object is 64 bytes, and ours.
            unsafe { object.as_ptr().write_bytes(0xa5, 64) };
            give(raw(name), [object]);
            let again = zeroed();
            assert_eq!(again, object, "{way}: the newest first");
            // SAFETY: as above; all of it was written.
            let bytes = unsafe { std::slice::from_raw_parts(again.as_ptr(), 64) };
            assert!(bytes.iter().all(|&byte| byte == 0), "{way}: {bytes:x?}");
            give(raw(name), [again]);
        }
    }
    assert_eq!((small.object_size(), large.object_size(), raw(&small).object_size()), (57, 64, 64));
    gone(&large);
    gone(&small);
}

#[test]
fn each_name_says_its_own() {
    let arena = locked();
    let aligned = CacheArgs { align: 32, flags: SlabFlags::HWCACHE_ALIGN, ..CacheArgs::default() };
    let first = CacheName::create(arena, "first", 120, &aligned).unwrap();
    let second = name(arena, "second", 121);
    assert_eq!(raw(&first), raw(&second));
    let (one, two) = (first.info(), second.info());
    assert_eq!(
        (one.name.as_str(), one.object_size, one.align, one.flags),
        ("first", 120, 64, SlabFlags::HWCACHE_ALIGN)
    );
    assert_eq!((two.name.as_str(), two.object_size, two.align, two.flags), ("second", 121, 8, SlabFlags::empty()));
    assert_eq!((one.slab_size, one.order, one.objs_per_slab), (two.slab_size, two.order, two.objs_per_slab));
    gone(&first);
    assert_eq!(first.info(), one);
    gone(&second);
}

#[test]
fn an_arena_that_does_not_merge() {
    let arena = Arena::create(ArenaConfig { no_merge: true, ..config(BackendKind::Locked, Form::Packed) }).unwrap();
    let (first, second) = (name(arena, "first", 64), name(arena, "second", 64));
    assert_ne!(raw(&first), raw(&second));
    assert!(second.is_primary());
    gone(&first);
    gone(&second);
}

#[test]
fn a_shared_cache_is_not_destroyed_by_its_storage() {
    let arena = locked();
    let (first, second) = (name(arena, "first", 64), name(arena, "second", 64));
    // SAFETY: nobody uses it.
    let refused = unsafe { raw(&first).destroy() };
    let Err(Error::BadArgument { argument: "cache", legal, .. }) = refused else { panic!("{refused:?}") };
    assert!(legal.contains("second"), "{legal}");
    gone(&second);
    end(raw(&first));
    assert!(!first.is_living());
}

#[test]
fn a_pin_keeps_the_storage_and_an_owner_lives_as_long_as_the_name_is_known() {
    let arena = locked();
    let owner = Arc::new(());
    let args = CacheArgs { owner: Some(owner.clone()), ..CacheArgs::default() };
    let owned = CacheName::create(arena, "owned", 64, &args).unwrap();
    drop(args);
    let reader = arena.find_name("owned").unwrap();
    let pinned = reader.pin().unwrap();
    let ended = std::thread::scope(|scope| {
        let ender = scope.spawn(|| gone(&owned));
        // It waits for us, but lets nobody in any more.
        while reader.pin().is_some() {
            std::thread::yield_now();
        }
        assert_eq!(pinned.stats().objects, 0);
        assert!(reader.is_living() && !ender.is_finished());
        drop(pinned);
        ender.join()
    });
    ended.unwrap();
    assert!(!reader.is_living() && reader.pin().is_none());
    drop(owned);
    assert_eq!(Arc::strong_count(&owner), 2);
    drop(reader);
    assert_eq!(Arc::strong_count(&owner), 1);
}
