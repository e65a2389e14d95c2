//! Failures on demand through the public interface. Faults are the process's, so the tests of this file take turns.

use haybarn::fault::{FaultAttr, fail_page_alloc, fail_slab};
use haybarn::{AllocFlags, Arena, ArenaConfig, BackendKind, CacheArgs, Error, RawCache};
use std::sync::{Mutex, MutexGuard, PoisonError};

static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An arena on each backend that this machine has.
fn arenas() -> Vec<&'static Arena> {
    let made =
        BackendKind::ALL.map(|kind| Arena::create(ArenaConfig { backend: Some(kind), ..ArenaConfig::default() }));
    made.into_iter().filter(|made| !matches!(made, Err(Error::Unavailable { .. }))).map(Result::unwrap).collect()
}

fn cache(arena: &'static Arena, name: &str, size: usize) -> RawCache {
    RawCache::create(arena, name, size, &CacheArgs::default()).unwrap()
}

#[test]
fn warm_sheaves_serve_while_pages_fail_and_nothing_serves_while_objects_fail() {
    let _turn = turn();
    for arena in arenas() {
        let cache = cache(arena, "warm", 64);
        let object = cache.alloc(AllocFlags::empty()).unwrap();
        let pages = fail_page_alloc(FaultAttr::default()).unwrap();
        // SAFETY: the object is ours.
        unsafe { cache.free(object) };
        let object = cache.alloc(AllocFlags::empty()).expect("a sheaf serves");
        drop(pages);
        // SAFETY: as above.
        unsafe { cache.free(object) };
        let slabs = fail_slab(None, FaultAttr::default()).unwrap();
        assert_eq!(cache.alloc(AllocFlags::empty()), None);
        assert!(!cache.alloc_bulk(AllocFlags::empty(), &mut [core::ptr::null_mut(); 3]));
        assert_eq!(slabs.end(), 2);
        assert!(cache.alloc(AllocFlags::empty()).is_some_and(|object| {
            // SAFETY: as above.
            unsafe { cache.free(object) };
            true
        }));
        cache.validate().unwrap();
        assert_eq!(cache.stats().objects, 0);
        // SAFETY: nobody uses the cache.
        unsafe { cache.destroy() }.unwrap();
    }
}
