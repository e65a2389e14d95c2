//! Memory of kmalloc given back by those who must not panic, and asked for by node.

use haybarn::kmalloc::{
    KMALLOC_MAX_CACHE_SIZE, ZERO_SIZE_PTR, kfree, kmalloc, kmalloc_node, kmalloc_node_nolock, ksize, provenance,
    try_kfree, try_kfree_nolock, try_ksize,
};
use haybarn::{AllocFlags, Arena, ArenaConfig, BackendKind, CacheArgs, Error, RawCache, Stat};

const NONE: AllocFlags = AllocFlags::empty();

fn arena(nodes: u32) -> &'static Arena {
    let config = ArenaConfig {
        backend: Some(BackendKind::Virtual),
        cpus: Some(4),
        nodes,
        reserve: 1 << 30,
        ..ArenaConfig::default()
    };
    Arena::create(config).unwrap()
}

fn why(found: Result<(), Error>) -> String {
    match found {
        Err(Error::BadPointer { why, .. }) => why.to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_the_arenas_is_an_error_and_nothing_changes() {
    let (here, there) = (arena(1), arena(1));
    let mut own = [0u8; 64];
    let (small, large) = (kmalloc(there, 100, NONE).unwrap(), kmalloc(there, 100_000, NONE).unwrap());
    for foreign in [own.as_mut_ptr(), small.as_ptr(), large.as_ptr()] {
        // SAFETY: nothing of that arena lies there.
        unsafe {
            assert!(why(try_kfree(here, foreign)).contains("no memory of this arena"));
            assert!(why(try_kfree_nolock(here, foreign)).contains("no memory of this arena"));
            assert!(why(try_ksize(here, foreign).map(|_| ())).contains("no memory of this arena"));
        }
    }
    // SAFETY: both are live; each is freed once.
    unsafe {
        assert!(why(try_kfree(there, large.as_ptr().add(8))).contains("interior"));
        assert!(why(try_kfree_nolock(there, large.as_ptr().add(8))).contains("interior"));
        assert!(why(try_kfree(there, large.as_ptr().add(4096))).contains("no memory"));
        assert_eq!((ksize(there, small.as_ptr()), try_ksize(there, large.as_ptr()).unwrap()), (128, 131_072));
        try_kfree(there, small.as_ptr()).unwrap();
        try_kfree_nolock(there, large.as_ptr()).unwrap();
        assert!(try_kfree(there, large.as_ptr()).is_err(), "the pages have gone");
        for nothing in [core::ptr::null_mut(), ZERO_SIZE_PTR.as_ptr()] {
            try_kfree(there, nothing).unwrap();
            try_kfree_nolock(there, nothing).unwrap();
            assert_eq!(try_ksize(there, nothing).unwrap(), 0);
        }
    }
}

#[test]
fn memory_of_a_node() {
    let arena = arena(2);
    for node in [0, 1] {
        haybarn::set_virtual_cpu(Some(0));
        let object = kmalloc_node(arena, 64, AllocFlags::ZERO | AllocFlags::THISNODE, node).unwrap();
        let signal = kmalloc_node_nolock(arena, 64, NONE, node).unwrap();
        let large = kmalloc_node(arena, KMALLOC_MAX_CACHE_SIZE + 1, NONE, node).unwrap();
        assert_eq!(kmalloc_node(arena, 0, NONE, node), Some(ZERO_SIZE_PTR));
        // On the other node, an object of this one is far and moves; on its own it stays.
        haybarn::set_virtual_cpu(Some(if node == 0 { 0 } else { 3 }));
        // SAFETY: all are live, and freed once.
        unsafe {
            assert_eq!(haybarn::kmalloc::krealloc(arena, object.as_ptr(), 60, AllocFlags::THISNODE), Some(object));
            haybarn::set_virtual_cpu(Some(if node == 0 { 3 } else { 0 }));
            let moved = haybarn::kmalloc::krealloc(arena, object.as_ptr(), 60, AllocFlags::THISNODE).unwrap();
            assert_ne!(moved, object);
            for memory in [moved, signal, large] {
                kfree(arena, memory.as_ptr());
            }
        }
    }
}

#[test]
fn an_object_is_charged_afterwards() {
    let cache = RawCache::create(arena(1), "charged", 64, &CacheArgs::default()).unwrap();
    let object = cache.alloc(NONE).unwrap();
    assert_eq!(cache.stats().get(Stat::Accounted), 0);
    cache.charge();
    assert_eq!(cache.stats().get(Stat::Accounted), 1);
    // SAFETY: it is live.
    unsafe { cache.free(object) };
}

#[test]
fn an_address_says_what_it_is() {
    let arena = arena(1);
    let cache = RawCache::create(arena, "whence", 100, &CacheArgs::default()).unwrap();
    let (object, large) = (cache.alloc(NONE).unwrap(), kmalloc(arena, 100_000, NONE).unwrap());
    let found = provenance(arena, object.as_ptr()).unwrap();
    let index = cache.check(object.as_ptr()).unwrap().0;
    assert_eq!((found.object.clone(), found.bytes), (Some(("whence".to_owned(), index)), 100));
    assert!(found.to_string().contains("cache 'whence', 100 bytes"), "{found}");
    let found = provenance(arena, large.as_ptr()).unwrap();
    assert_eq!((found.object.clone(), found.bytes), (None, 131_072));
    assert!(found.to_string().ends_with("whole pages, 131072 bytes"), "{found}");
    assert!(provenance(arena, (&raw const found).cast()).is_err());
    assert!(provenance(arena, object.as_ptr().wrapping_add(1)).is_err());
    // SAFETY: both are live.
    unsafe {
        cache.free(object);
        kfree(arena, large.as_ptr());
    }
}
