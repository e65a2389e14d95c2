//! The kmalloc family: sizes, alignment, ways back, zeroes, and what it does not accept.

mod support;

use haybarn::{Arena, CacheArgs, Error, RawCache};
use std::ptr::null_mut;
use support::by_size::*;
use support::*;

const ZERO: haybarn::AllocFlags = haybarn::AllocFlags::ZERO;

fn take(arena: &'static Arena, size: usize) -> *mut u8 {
    kmalloc(arena, size, PLAIN).unwrap_or_else(|| panic!("{size} bytes")).as_ptr()
}

fn fill(arena: &'static Arena, object: *mut u8, with: u8) {
    paint(object, ksize(arena, object), with);
}

#[test]
fn every_size_is_aligned_as_linux_promises_and_all_of_it_can_be_used() {
    for arena in every_arena() {
        let large = [8193, 16384, 100_000, 1 << 20, 2 << 20, (2 << 20) + 1, 4 << 20];
        for size in SIZES.into_iter().flat_map(|size| [size - 7, size]).chain(large) {
            let rounded = kmalloc_size_roundup(size);
            let align = 1 << rounded.trailing_zeros();
            // Several, so that not the slab's first one alone is looked at.
            let objects: Vec<_> = (0..5).map(|_| take(arena, size)).collect();
            for (n, &object) in objects.iter().enumerate() {
                assert!(object.addr().is_multiple_of(align), "{size}: {object:p} is not aligned to {align}");
                assert_eq!(ksize(arena, object), rounded, "{size}");
                assert_eq!(ksize_checked(arena, object).unwrap(), rounded, "{size}");
                fill(arena, object, n as u8 + 1);
            }
            for (n, &object) in objects.iter().enumerate() {
                assert!(bytes(object, rounded).iter().all(|&byte| byte == n as u8 + 1), "{size}: objects overlap");
                kfree(arena, object);
            }
        }
    }
}

#[test]
fn classes_are_made_at_first_use_and_once() {
    for arena in every_arena() {
        assert!(arena.cache_names().is_empty());
        let object = take(arena, 100);
        assert_eq!(arena.cache_names(), ["kmalloc-128"]);
        let threads: Vec<_> =
            (0..4).map(|_| std::thread::spawn(|| SIZES.map(|size| take(arena, size).expose_provenance()))).collect();
        let taken: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        let mut names = arena.cache_names();
        names.sort_unstable_by_key(|name| (name.len(), name.clone()));
        let expected = ["1k", "2k", "4k", "8k", "16", "32", "64", "96", "128", "192", "256", "512"];
        let mut expected: Vec<_> = expected.iter().map(|size| format!("kmalloc-{size}")).collect();
        expected.push("kmalloc-8".to_owned());
        expected.sort_unstable_by_key(|name| (name.len(), name.clone()));
        assert_eq!(names, expected);
        kfree(arena, object);
        taken.into_iter().for_each(|object| kfree(arena, std::ptr::with_exposed_provenance_mut(object)));
    }
}

#[test]
fn a_users_cache_keeps_the_name_that_it_has() {
    let arena = every_arena()[0];
    let users = RawCache::create(arena, "kmalloc-64", 40, &CacheArgs::default()).unwrap();
    let object = take(arena, 64);
    assert_eq!(arena.cache_names(), ["kmalloc-64", "kmalloc-64:2"]);
    let classes: Vec<_> =
        arena.names().iter().map(|name| haybarn::kmalloc::class_named(arena, name).map(|at| SIZES[at])).collect();
    assert_eq!(classes, [None, Some(64)], "whose class a cache is, its name does not say");
    assert!(matches!(users.check(object), Err(Error::WrongCache { owner, .. }) if owner == "kmalloc-64:2"));
    // And the other way round: kmalloc's caches are living caches like any.
    let error = RawCache::create(arena, "kmalloc-64:2", 40, &CacheArgs::default()).unwrap_err();
    assert!(matches!(error, Error::BadArgument { argument: "name", .. }), "{error}");
    {
        kfree(arena, object);
        destroy(users);
    }
}

#[test]
fn nothing_is_no_memory() {
    let arena = every_arena()[0];
    let nothing = kmalloc(arena, 0, ZERO).unwrap();
    assert_eq!((nothing, nothing.as_ptr().addr()), (ZERO_SIZE_PTR, 16));
    {
        for object in [null_mut(), nothing.as_ptr()] {
            assert_eq!(ksize(arena, object), 0);
            assert_eq!(ksize_checked(arena, object), Ok(0));
            kfree(arena, object);
            kfree_checked(arena, object).unwrap();
            kfree_sensitive(arena, object);
            kvfree(arena, object);
            let grown = krealloc(arena, object, 10, PLAIN).unwrap();
            assert_eq!(krealloc(arena, grown.as_ptr(), 0, PLAIN), Some(ZERO_SIZE_PTR));
        }
        kfree_bulk(arena, &mut []);
    }
    assert!(kmalloc(arena, KMALLOC_MAX_SIZE + 1, PLAIN).is_none());
    assert!(kmalloc(arena, usize::MAX, PLAIN).is_none());
}

#[test]
fn what_is_no_objects_start_is_refused_and_nothing_changes() {
    for arena in every_arena() {
        let (small, large, runs) = (take(arena, 96), take(arena, 20_000), arena.alloc_pages(20_000).unwrap());
        let local = 0_u64;
        let wrong = [
            ((&raw const local).cast_mut().cast(), "foreign"),
            (small.wrapping_add(1), "misaligned"),
            (small.wrapping_add(32), "interior"),
            (large.wrapping_add(8), "interior"),
            (large.wrapping_add(4096), "starts there"),
            (runs.as_ptr(), "starts there"),
        ];
        for (address, why) in wrong {
            for error in [ksize_checked(arena, address).unwrap_err(), kfree_checked(arena, address).unwrap_err()] {
                assert!(matches!(error, Error::BadPointer { .. }) && error.to_string().contains(why), "{error}: {why}");
            }
        }
        {
            // Large pages are not alloc_pages'.
            assert!(free_pages(arena, large).is_err());
            free_pages(arena, runs.as_ptr()).unwrap();
            kfree_checked(arena, small).unwrap();
            kfree_checked(arena, large).unwrap();
            assert!(kfree_checked(arena, large).is_err(), "a second time");
        }
    }
}

#[test]
fn any_mixture_goes_back_at_once() {
    for arena in every_arena() {
        let other = RawCache::create(arena, "other", 56, &CacheArgs::default()).unwrap();
        let used = arena.info().used;
        let sizes = [1, 9000, 8, 0, 8192, 64, 3 << 20, 60, 4096, 90, 1, 64, 5_000_000];
        let mut objects: Vec<_> = (0..20)
            .flat_map(|_| sizes)
            .map(|size| kvmalloc(arena, size, PLAIN).unwrap().as_ptr())
            .chain([null_mut(), other.alloc(PLAIN).unwrap().as_ptr(), null_mut()])
            .collect();
        objects.iter().for_each(|&object| fill(arena, object, 0xa5));
        kfree_bulk(arena, &mut objects);
        assert_eq!(other.stats().objects, 0);
        // What is left are the classes' own empty slabs: of each 13 no more than some, and nothing large.
        let _slabs = other.shrink();
        assert!(arena.info().used - used < 16 << 20, "{} bytes stayed", arena.info().used - used);
        destroy(other);
    }
}

#[test]
fn zero_means_all_of_it() {
    for arena in every_arena() {
        for size in [5, 90, 8000, 8193, 1_000_000, 4 << 20, 5 << 20] {
            // Dirty memory first, which the next request gets.
            let dirty = kvmalloc(arena, size, PLAIN).unwrap().as_ptr();
            fill(arena, dirty, 0xff);
            kvfree(arena, dirty);
            let object = kvmalloc(arena, size, ZERO).unwrap().as_ptr();
            let room = ksize(arena, object);
            assert!(room >= size && bytes(object, room).iter().all(|&byte| byte == 0), "{size}");
            kvfree(arena, object);
        }
    }
}

#[test]
fn a_sensitive_free_leaves_no_byte() {
    let arena = every_arena()[0];
    let object = take(arena, 100);
    fill(arena, object, 0x5a);
    kfree_sensitive(arena, object);
    let again = take(arena, 100);
    assert_eq!(again, object, "the sheaf gives the last one first");
    // A free pointer may lie in it, if it has been on a slab's list meanwhile; it has not.
    assert!(bytes(again, 128).iter().all(|&byte| byte == 0));
    kfree(arena, again);
}

#[test]
fn larger_than_kmalloc_is_kvmallocs() {
    for arena in every_arena() {
        for size in [KMALLOC_MAX_SIZE + 1, 9 << 20, (33 << 20) + 5] {
            let object = kvmalloc(arena, size, PLAIN).unwrap().as_ptr();
            assert_eq!(ksize(arena, object), size.next_multiple_of(4096));
            {
                paint(object.wrapping_add(size - 1), 1, 1);
                kvfree(arena, object);
            }
        }
        assert!(kvmalloc(arena, 1 << 40, PLAIN).is_none(), "more than the arena has");
        assert!(kvmalloc(arena, usize::MAX, PLAIN).is_none());
    }
}

#[test]
fn a_bucket_set_keeps_to_itself() {
    for arena in every_arena() {
        let set = KmemBuckets::create(arena, "private").unwrap();
        assert_eq!(arena.cache_names().len(), SIZES.len());
        let theirs = set.alloc(64, PLAIN).unwrap().as_ptr();
        let ours = take(arena, 64);
        let classes: Vec<_> =
            arena.names().iter().filter_map(|name| haybarn::kmalloc::class_named(arena, name)).collect();
        assert_eq!(classes, [3], "a set's caches are its own, and kmalloc's only one is of 64 bytes");
        assert_ne!(theirs.addr() / 4096, ours.addr() / 4096, "one page for both");
        assert_eq!((set.objects(), ksize(arena, theirs)), (1, 64));
        let (error, set) = end_set(set).unwrap_err();
        assert!(matches!(&error, Error::CacheBusy { live: 1, sample, .. } if sample.len() == 1), "{error}");
        let large = set.alloc(10_000, ZERO).unwrap().as_ptr();
        {
            kfree_bulk(arena, &mut [theirs, large, ours]);
            end_set(set).unwrap();
        }
        assert_eq!(arena.cache_names(), ["kmalloc-64"]);
        let error = KmemBuckets::create(arena, "no name").unwrap_err();
        assert!(matches!(error, Error::BadArgument { argument: "name", .. }), "{error}");
        let too_long = KmemBuckets::create(arena, &"x".repeat(127 - "-128".len() + 1)).unwrap_err();
        assert!(matches!(too_long, Error::BadArgument { argument: "name", .. }), "{too_long}");
        assert_eq!(arena.cache_names(), ["kmalloc-64"], "a set that could not be made leaves nothing");
        // The longest name that fits: with a number appended it does not.
        let longest = "x".repeat(127 - "-128".len());
        let first = KmemBuckets::create(arena, &longest).unwrap();
        let error = KmemBuckets::create(arena, &longest).unwrap_err();
        assert!(matches!(error, Error::BadArgument { argument: "name", .. }), "{error}");
        end_set(first).unwrap();
        assert_eq!(arena.cache_names(), ["kmalloc-64"]);
    }
}

#[test]
fn without_memory_everything_stays_as_it_was() {
    for (arena, switch) in every_failing_arena() {
        let (small, large) = (take(arena, 64), take(arena, 9000));
        fill(arena, small, 1);
        fill(arena, large, 2);
        switch.fail_now();
        {
            assert!(krealloc(arena, small, 100_000, PLAIN).is_none());
            assert!(krealloc(arena, large, 100_000, ZERO).is_none());
            assert!(krealloc(arena, large, usize::MAX, ZERO).is_none());
            assert!(kmalloc(arena, 9000, PLAIN).is_none() && kvmalloc(arena, 9 << 20, PLAIN).is_none());
            assert!(kmalloc(arena, 2000, PLAIN).is_none(), "a class that is not there yet, and no slab for it");
        }
        switch.heal();
        assert!(bytes(small, 64).iter().all(|&byte| byte == 1) && bytes(large, 16384).iter().all(|&byte| byte == 2));
        let now = take(arena, 2000);
        kfree_bulk(arena, &mut [small, large, now]);
    }
}
