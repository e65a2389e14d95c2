//! One conformance suite over every backend and both forms of the doubleword.

use haybarn::{
    AllocFlags, Arena, ArenaConfig, BackendKind, CacheArgs, Error, Form, Level, RawCache, Stat, set_virtual_cpu,
};
use std::collections::HashSet;

const PLAIN: AllocFlags = AllocFlags::empty();

fn arenas() -> Vec<&'static Arena> {
    let mut made = Vec::new();
    for backend in BackendKind::ALL {
        for form in [Form::Double, Form::Packed] {
            let cpus = (backend == BackendKind::Virtual).then_some(2);
            let config = ArenaConfig { backend: Some(backend), cpus, form: Some(form), ..ArenaConfig::default() };
            match Arena::create(config) {
                Ok(arena) => made.push(arena),
                // A forced backend that the machine does not have is an error, and the suite says so.
                Err(error @ Error::Unavailable { .. }) => eprintln!("not run: {error}"),
                Err(error) => panic!("{error}"),
            }
        }
    }
    made
}

fn cache(arena: &'static Arena, name: &str, size: usize) -> RawCache {
    RawCache::create(arena, name, size, &CacheArgs::default()).unwrap()
}

fn end(cache: RawCache) {
    let (stats, name) = (cache.stats(), cache.info().name);
    assert_eq!(stats.objects, 0, "{name}");
    assert_eq!(cache.validate(), Ok(()));
    // SAFETY: the test is done with it.
    unsafe { cache.destroy() }.unwrap();
}

#[test]
fn objects_are_apart_aligned_and_keep_their_contents() {
    for arena in arenas() {
        for size in [1, 8, 24, 64, 100, 192, 1500, 4096, 20_000, 1 << 20, 4 << 20] {
            let count = (8 << 20) / size.max(1 << 10);
            let cache = cache(arena, "apart", size);
            let mut objects: Vec<_> = (0..count).map(|_| cache.alloc(PLAIN).unwrap()).collect();
            for (n, object) in objects.iter().enumerate() {
                assert_eq!(object.addr().get() % cache.info().align, 0);
                // SAFETY: ours, `size` bytes.
                unsafe { object.as_ptr().write_bytes(n as u8, size) };
            }
            assert_eq!(cache.stats().objects, count as u64, "{} size {size}", arena.backend());
            for (n, object) in objects.drain(..).enumerate() {
                cache.check(object.as_ptr()).unwrap();
                // SAFETY: as above.
                unsafe {
                    assert!(core::slice::from_raw_parts(object.as_ptr(), size).iter().all(|&byte| byte == n as u8));
                    cache.free(object);
                }
            }
            end(cache);
        }
    }
}

#[test]
fn zero_means_zero_also_after_use() {
    for arena in arenas() {
        let cache = cache(arena, "zero", 96);
        for _ in 0..100 {
            let object = cache.alloc(AllocFlags::ZERO).unwrap();
            // SAFETY: ours, 96 bytes.
            unsafe {
                assert!(core::slice::from_raw_parts(object.as_ptr(), 96).iter().all(|&byte| byte == 0));
                object.as_ptr().write_bytes(0xff, 96);
                cache.free(object);
            }
        }
        end(cache);
    }
}

#[test]
fn bulk_gives_distinct_objects_and_takes_them_back() {
    for arena in arenas() {
        let cache = cache(arena, "bulk", 64);
        for count in [0, 1, 7, 60, 61, 200, 3000] {
            let mut objects = vec![core::ptr::null_mut(); count];
            assert!(cache.alloc_bulk(PLAIN, &mut objects));
            assert_eq!(objects.iter().collect::<HashSet<_>>().len(), count);
            assert_eq!(cache.stats().objects, count as u64);
            // SAFETY: ours.
            unsafe { cache.free_bulk(&mut objects) };
        }
        end(cache);
    }
}

#[test]
fn shrink_leaves_nothing_of_an_unused_cache() {
    for arena in arenas() {
        let cache = cache(arena, "shrunk", 256);
        let objects: Vec<_> = (0..1000).map(|_| cache.alloc(PLAIN).unwrap()).collect();
        for object in objects {
            // SAFETY: ours.
            unsafe { cache.free(object) };
        }
        let slabs = cache.stats().slabs;
        assert!(slabs > 0);
        assert_eq!(cache.shrink(), slabs, "{}", arena.backend());
        let stats = cache.stats();
        assert_eq!((stats.slabs, stats.total_objects, stats.partial, stats.in_sheaves), (0, 0, 0, 0));
        assert_eq!(stats.get(Stat::SheafAlloc) - stats.get(Stat::SheafFree), u64::from(arena.cpus()));
        end(cache);
    }
}

#[test]
fn destroy_refuses_with_the_live_objects_and_leaves_the_cache_usable() {
    for arena in arenas() {
        let cache = cache(arena, "busy", 64);
        let kept: Vec<_> = (0..3).map(|_| cache.alloc(PLAIN).unwrap()).collect();
        // SAFETY: nobody else uses the cache.
        let Err(Error::CacheBusy { live: 3, sample, .. }) = (unsafe { cache.destroy() }) else { panic!("not refused") };
        let named: HashSet<_> = sample.iter().map(|object| object.address).collect();
        assert_eq!(named, kept.iter().map(|object| object.addr().get()).collect());
        let another = cache.alloc(PLAIN).unwrap();
        for object in kept.into_iter().chain([another]) {
            // SAFETY: ours.
            unsafe { cache.free(object) };
        }
        end(cache);
    }
}

#[test]
fn addresses_that_are_no_objects_are_told_apart() {
    for arena in arenas() {
        let (ours, other) = (cache(arena, "ours", 64), cache(arena, "other", 64));
        let (object, foreign) = (ours.alloc(PLAIN).unwrap(), other.alloc(PLAIN).unwrap());
        assert!(ours.check(object.as_ptr()).is_ok());
        assert!(matches!(ours.check(foreign.as_ptr()), Err(Error::WrongCache { owner, .. }) if owner == "other"));
        for wild in
            [object.as_ptr().wrapping_add(8), object.as_ptr().wrapping_add(1), (&raw const ours).cast_mut().cast()]
        {
            assert!(matches!(ours.check(wild), Err(Error::BadPointer { .. })));
        }
        // SAFETY: ours.
        unsafe {
            ours.free(object);
            other.free(foreign);
        }
        end(ours);
        end(other);
    }
}

#[test]
fn one_thread_goes_down_the_levels_in_order() {
    let config = ArenaConfig { backend: Some(BackendKind::Virtual), cpus: Some(1), ..ArenaConfig::default() };
    let cache = cache(Arena::create(config).unwrap(), "levels", 64);
    set_virtual_cpu(Some(0));
    let level = || cache.alloc_level(PLAIN).unwrap();
    let first = level();
    assert_eq!(first.1, Level::NewSlab);
    let rest: Vec<_> = (0..59).map(|_| level()).collect();
    assert!(rest.iter().all(|&(_, level)| level == Level::Sheaf));
    // 60 of 64 objects went with the sheaf; the other four wait on the partial list, and one new slab fills up the rest.
    let second = level();
    assert_eq!(second.1, Level::NewSlab);
    assert_eq!(cache.stats().get(Stat::AllocSlab), 2);
    for (object, _) in rest.into_iter().chain([first, second]) {
        // SAFETY: ours.
        unsafe { cache.free(object) };
    }
    end(cache);
}
