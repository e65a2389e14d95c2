//! Caches whose values outlive their owners: made once per slab, dropped once, the constructor's own error comes out.

mod support;

use haybarn::sync::Counter;
use haybarn::{
    AllocError, Arena, CacheArgs, CtorBox, CtorCache, DtorMode, Error, KmemCache, SlabFlags, Stat, StaticCache,
    failing_source, set_virtual_cpu,
};
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Barrier, Mutex};
use support::*;

fn is_send<T: Send>() {}
fn is_sync<T: Sync>() {}

#[test]
fn handles_are_for_every_thread_and_boxes_as_their_values() {
    is_send::<CtorCache<std::cell::Cell<u8>, Infallible>>();
    is_sync::<CtorCache<std::cell::Cell<u8>, Infallible>>();
    is_send::<CtorBox<'static, std::cell::Cell<u8>, Infallible>>();
    is_sync::<CtorBox<'static, u8, Infallible>>();
}

/// What is costly to make: a number of its own, a lock, memory of its own.
struct Session {
    number: u64,
    uses: Mutex<u32>,
    buffer: Vec<u8>,
    _drop: CountsDrop,
}

struct CountsDrop(Arc<Counter>);

impl Drop for CountsDrop {
    fn drop(&mut self) {
        self.0.add(1);
    }
}

#[derive(Debug, PartialEq, Eq)]
struct NoMore(u64);

impl std::fmt::Display for NoMore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no more than {} sessions", self.0)
    }
}

type Sessions = CtorCache<Session, NoMore>;

/// A cache of at most `most` sessions, with how many were made and dropped.
fn sessions(arena: &'static Arena, args: &CacheArgs, most: u64) -> (Sessions, Arc<Counter>, Arc<Counter>) {
    let (made, dropped) = (Arc::new(Counter::new()), Arc::new(Counter::new()));
    let (count, drops) = (made.clone(), dropped.clone());
    let ctor = move || {
        let number = count.get();
        if number >= most {
            return Err(NoMore(most));
        }
        count.add(1);
        Ok(Session {
            number,
            uses: Mutex::new(0),
            buffer: Vec::with_capacity(1 << 12),
            _drop: CountsDrop(drops.clone()),
        })
    };
    (CtorCache::create_in(arena, "sessions", args, ctor, |_| {}).unwrap(), made, dropped)
}

#[test]
fn values_are_made_once_and_handed_on() {
    for arena in every_arena() {
        let (cache, made, dropped) = sessions(arena, &CacheArgs::default(), u64::MAX);
        let mut first = cache.alloc().unwrap();
        let (number, memory) = (first.number, first.buffer.as_ptr());
        first.buffer.extend_from_slice(b"left by the first owner");
        *first.uses.lock().unwrap() += 1;
        drop(first);
        let again = cache.alloc().unwrap();
        // The same object comes back where nothing moved the thread; else one that is constructed as well.
        if again.number == number {
            assert_eq!((again.buffer.as_ptr(), &again.buffer[..]), (memory, &b"left by the first owner"[..]));
            assert_eq!(*again.uses.lock().unwrap(), 1);
        }
        drop(again);
        for _ in 0..10_000 {
            drop(cache.alloc().unwrap());
        }
        assert_eq!((made.get(), dropped.get()), (cache.stats().total_objects, 0));
        assert!(cache.shrink() > 0);
        assert_eq!(dropped.get(), made.get());
        drop(cache.alloc().unwrap());
        cache.destroy().map_err(|(error, _)| error).unwrap();
        assert_eq!(dropped.get(), made.get(), "the end drops what there is");
    }
}

#[test]
fn the_constructors_error_comes_out_as_it_is() {
    for arena in every_arena() {
        let (cache, made, dropped) = sessions(arena, &CacheArgs::default(), 5);
        match cache.alloc() {
            Err(AllocError::Ctor(error)) => assert_eq!(error, NoMore(5)),
            other => panic!("{:?}", other.map(|session| session.number)),
        }
        assert_eq!((made.get(), dropped.get()), (5, 5), "what was made of the slab is dropped");
        let text = AllocError::Ctor(NoMore(5)).to_string();
        assert_eq!(text, "the constructor failed: no more than 5 sessions");
    }
    let (source, switch) = failing_source();
    let config = haybarn::ArenaConfig { source, reserve: 1 << 30, ..haybarn::ArenaConfig::default() };
    let arena = Arena::create(config).unwrap();
    let (cache, ..) = sessions(arena, &CacheArgs::default(), u64::MAX);
    switch.fail_now();
    assert!(matches!(cache.alloc(), Err(AllocError::Cache(Error::OutOfMemory { .. }))));
    switch.heal();
    assert!(cache.alloc().is_ok());
}

/// An error type of our own is told from the allocator's, even if it is the same type.
#[test]
fn a_refusal_is_told_from_an_error_of_the_same_type() {
    let arena = every_arena()[0];
    let said = Error::NotSetUp { cache: "said by the constructor".into() };
    let error = said.clone();
    let cache =
        CtorCache::<u64, Error>::create_in(arena, "same", &CacheArgs::default(), move || Err(error.clone()), |_| {});
    assert_eq!(cache.unwrap().alloc().map(|object| *object), Err(AllocError::Ctor(said)));
}

#[test]
fn a_typed_cache_inside_a_callback_is_refused() {
    static INNER: StaticCache<[u64; 64]> = StaticCache::new("inner");
    let arena = every_arena()[0];
    INNER.setup(&CacheArgs { flags: haybarn::SlabFlags::NOLEAKTRACE, ..CacheArgs::default() }).unwrap();
    let said = Arc::new(Mutex::new(Vec::new()));
    let log = said.clone();
    let cache = CtorCache::<u64, Infallible>::create_in(
        arena,
        "outer",
        &CacheArgs::default(),
        || Ok(7),
        move |_| {
            log.lock().unwrap().extend(INNER.alloc([0; 64]).err());
        },
    );
    let cache = cache.unwrap();
    assert_eq!(*cache.alloc().unwrap(), 7);
    drop(cache);
    let said = said.lock().unwrap();
    let names =
        |error: &Error| matches!(error, Error::Reentry { outer, inner, .. } if outer == "outer" && inner == "inner");
    assert!(!said.is_empty() && said.iter().all(names), "{said:?}");
    // SAFETY: nothing was allocated, and nobody else knows it.
    unsafe { INNER.destroy() }.unwrap();
}

#[test]
fn a_destructor_that_panics_drops_the_value_all_the_same() {
    for arena in every_arena() {
        let dropped = Arc::new(Counter::new());
        let drops = dropped.clone();
        let ctor = move || Ok::<_, Infallible>(CountsDrop(drops.clone()));
        let cache = CtorCache::create_in(arena, "panics", &CacheArgs::default(), ctor, |_| panic!("planted")).unwrap();
        drop(cache.alloc().unwrap());
        let total = cache.stats().total_objects;
        drop(cache);
        assert_eq!(dropped.get(), total);
    }
}

/// The value's own drop panics too, and the slab dies in a free that an unwinding thread makes: three at a time are not one too
/// many.
#[test]
fn panics_of_destructor_and_drop_do_not_meet() {
    // Large, so that some slabs die although their node keeps the first few.
    struct Grumbles(Arc<Counter>, #[expect(dead_code, reason = "for its size")] [u8; 2000]);
    impl Drop for Grumbles {
        fn drop(&mut self) {
            self.0.add(1);
            panic!("planted panic of a drop");
        }
    }
    for arena in every_arena() {
        let dropped = Arc::new(Counter::new());
        let drops = dropped.clone();
        let ctor = move || Ok::<_, Infallible>(Grumbles(drops.clone(), [0; 2000]));
        // Without sheaves each free reaches its slab.
        let args = CacheArgs { flags: SlabFlags::NOLEAKTRACE, ..CacheArgs::default() };
        let cache = CtorCache::create_in(arena, "grumbles", &args, ctor, |_| panic!("planted")).unwrap();
        let outer = catch_unwind(AssertUnwindSafe(|| {
            let _live: Vec<_> = (0..200).map(|_| cache.alloc().unwrap()).collect();
            panic!("the caller's own");
        }));
        assert_eq!(outer.unwrap_err().downcast_ref::<&str>(), Some(&"the caller's own"));
        let stats = cache.stats();
        assert!(dropped.get() > 0, "no slab died on the way up: {stats:?}");
        assert_eq!((stats.get(Stat::DtorPanic), stats.get(Stat::DtorObject)), (dropped.get(), dropped.get()));
        let total = stats.total_objects + dropped.get();
        drop(cache);
        assert_eq!(dropped.get(), total);
    }
}

#[test]
fn a_constructor_that_panics_leaves_the_cache_usable() {
    for arena in every_arena() {
        let calls = Arc::new(Counter::new());
        let count = calls.clone();
        let ctor = move || {
            count.add(1);
            assert!(count.get() != 4, "planted");
            Ok::<_, Infallible>(vec![1_u8; 100])
        };
        let cache = CtorCache::create_in(arena, "panics", &CacheArgs::default(), ctor, |_| {}).unwrap();
        assert!(catch_unwind(AssertUnwindSafe(|| cache.alloc().map(drop))).is_err());
        assert_eq!(cache.stats().slabs, 0);
        assert_eq!(*cache.alloc().unwrap(), vec![1; 100]);
        cache.validate().unwrap();
    }
}

#[test]
fn values_go_from_thread_to_thread_and_are_dropped_once() {
    for arena in every_arena() {
        for dtor_mode in [DtorMode::Inline, DtorMode::Service, DtorMode::Manual] {
            let (cache, made, dropped) = sessions(arena, &CacheArgs { dtor_mode, ..CacheArgs::default() }, u64::MAX);
            let barrier = Barrier::new(4);
            std::thread::scope(|scope| {
                for cpu in 0..4 {
                    let (cache, barrier) = (&cache, &barrier);
                    scope.spawn(move || {
                        set_virtual_cpu(Some(cpu % 2));
                        barrier.wait();
                        for round in 0..40 {
                            let held: Vec<_> = (0..50).map(|_| cache.alloc().unwrap()).collect();
                            held.iter().for_each(|session| *session.uses.lock().unwrap() += 1);
                            // Freed by another thread.
                            std::thread::scope(|scope| drop(scope.spawn(move || drop(held))));
                            if round % 10 == 0 {
                                let _ = cache.shrink();
                                cache.reap();
                            }
                        }
                    });
                }
            });
            let stats = cache.stats();
            assert_eq!(made.get(), stats.get(Stat::CtorObject));
            drop(cache);
            assert_eq!(made.get(), dropped.get(), "{dtor_mode:?}");
        }
    }
}

/// A leaked object keeps the cache, and what it holds stays valid.
#[test]
fn leaked_objects_keep_the_cache() {
    let arena = every_arena()[0];
    let (cache, made, dropped) = sessions(arena, &CacheArgs::default(), u64::MAX);
    let session: *const Session = &raw const **std::mem::ManuallyDrop::new(cache.alloc().unwrap());
    let (error, cache) = cache.destroy().unwrap_err();
    assert!(matches!(error, Error::CacheBusy { live: 1, .. }), "{error}");
    drop(cache);
    // SAFETY: the cache and its memory stay for good.
    assert!(unsafe { &*session }.number < made.get());
    assert!(dropped.get() < made.get());
}

#[test]
fn caches_that_move_values_take_no_hooks() {
    static NAMED: StaticCache<u64> = StaticCache::new("static");
    let args = support::counting::Counting::new().args();
    for refused in [KmemCache::<u64>::create("typed", &args).map(drop), NAMED.setup(&args)] {
        assert!(matches!(refused, Err(Error::BadArgument { argument: "hooks", .. })), "{refused:?}");
    }
}
