//! Typed caches and boxes: values are dropped once, objects come back whatever happens.

mod support;

use haybarn::sync::Counter;
use haybarn::{
    Arena, ArenaConfig, BackendKind, CacheArgs, CacheBox, Error, Form, KmemCache, RawCache, StaticBox, StaticCache,
    failing_source,
};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use support::{audit, config, every_arena};

fn is_send<T: Send>() {}
fn is_sync<T: Sync>() {}

/// `true` where a type is neither `Send` nor `Sync`: the inherent constant wins where the bound holds.
macro_rules! implements {
    ($type:ty: $bound:path) => {{
        #[allow(dead_code, reason = "shadowed where the bound holds")]
        trait Otherwise {
            const HOLDS: bool = false;
        }
        impl<T: ?Sized> Otherwise for T {}
        struct Probe<T: ?Sized>(core::marker::PhantomData<T>);
        #[allow(dead_code, reason = "unused where the bound does not hold")]
        impl<T: ?Sized + $bound> Probe<T> {
            const HOLDS: bool = true;
        }
        <Probe<$type>>::HOLDS
    }};
}

#[test]
fn handles_are_for_every_thread_and_boxes_as_their_values() {
    is_send::<RawCache>();
    is_sync::<RawCache>();
    is_send::<KmemCache<Rc<u8>>>();
    is_sync::<KmemCache<Cell<u8>>>();
    is_sync::<StaticCache<Rc<u8>>>();
    is_send::<CacheBox<'static, u8>>();
    is_sync::<CacheBox<'static, u8>>();
    is_sync::<Arena>();
    assert!(implements!(CacheBox<'static, Cell<u8>>: Send));
    assert!(!implements!(CacheBox<'static, Cell<u8>>: Sync));
    assert!(!implements!(CacheBox<'static, Rc<u8>>: Send));
    assert!(!implements!(StaticBox<Rc<u8>>: Sync));
}

/// Writes its number to a list when it goes.
struct Tracked<'l>(u32, &'l Mutex<Vec<u32>>);

impl Drop for Tracked<'_> {
    fn drop(&mut self) {
        self.1.lock().unwrap().push(self.0);
    }
}

#[test]
fn values_are_dropped_once_in_the_order_of_their_boxes() {
    for arena in every_arena() {
        let log = Mutex::new(Vec::new());
        let cache = KmemCache::create_in(arena, "tracked", &CacheArgs::default()).unwrap();
        {
            let first = cache.alloc(Tracked(1, &log)).unwrap();
            let _second = cache.alloc(Tracked(2, &log)).unwrap();
            let third = cache.alloc(Tracked(3, &log)).unwrap();
            drop(third);
            assert_eq!(first.0, 1);
            // SAFETY: the cache lives, here and below.
            audit(unsafe { cache.raw() }, 2);
        }
        assert_eq!(*log.lock().unwrap(), [3, 2, 1]);
        // SAFETY: the cache lives, here and below.
        audit(unsafe { cache.raw() }, 0);
        let kept = CacheBox::into_inner(cache.alloc(Tracked(4, &log)).unwrap());
        // SAFETY: the cache lives, here and below.
        audit(unsafe { cache.raw() }, 0);
        assert_eq!(log.lock().unwrap().len(), 3);
        drop(kept);
        let raw = CacheBox::into_raw(cache.alloc(Tracked(5, &log)).unwrap());
        // SAFETY: the cache lives, here and below.
        audit(unsafe { cache.raw() }, 1);
        // SAFETY: from `into_raw` of this cache.
        drop(unsafe { CacheBox::from_raw(&cache, raw) });
        assert_eq!(*log.lock().unwrap(), [3, 2, 1, 4, 5]);
        cache.destroy().unwrap();
    }
}

#[test]
fn boxes_give_their_value_to_read_and_change() {
    let cache = KmemCache::create("vectors", &CacheArgs::default()).unwrap();
    let mut vector = cache.alloc(vec![1, 2]).unwrap();
    vector.push(3);
    assert_eq!((vector.len(), format!("{vector:?}")), (3, "[1, 2, 3]".to_owned()));
    assert_eq!(CacheBox::into_inner(vector), [1, 2, 3]);
    assert!(format!("{cache:?}").contains("vectors"));
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the destructor panics");
    }
}

#[test]
fn an_object_is_freed_though_its_destructor_panics() {
    for arena in every_arena() {
        let cache = KmemCache::create_in(arena, "bombs", &CacheArgs::default()).unwrap();
        for _ in 0..200 {
            let bomb = cache.alloc((Bomb, [0_u8; 64])).unwrap();
            catch_unwind(AssertUnwindSafe(|| drop(bomb))).unwrap_err();
        }
        // SAFETY: the cache lives, here and below.
        audit(unsafe { cache.raw() }, 0);
        cache.destroy().unwrap();
    }
}

#[repr(align(256))]
struct Wide(#[allow(dead_code, reason = "only its place matters")] u8);

#[repr(align(8192))]
struct TooWide(#[allow(dead_code, reason = "never made")] u8);

#[test]
fn types_bring_their_size_and_alignment() {
    let cache = KmemCache::create("wide", &CacheArgs { align: 64, ..CacheArgs::default() }).unwrap();
    let boxes: Vec<_> = (0..50).map(|n| cache.alloc(Wide(n)).unwrap()).collect();
    assert!(boxes.iter().all(|value| (&raw const **value).addr().is_multiple_of(256)));
    assert_eq!((cache.info().align, cache.info().object_size), (256, 256));

    let refused = |made: Result<(), Error>, name: &str| match made {
        Err(Error::BadArgument { argument, .. }) => assert_eq!(argument, name),
        other => panic!("{other:?}"),
    };
    refused(KmemCache::<()>::create("nothing", &CacheArgs::default()).map(drop), "object_size");
    refused(KmemCache::<[u64; 0]>::create("none", &CacheArgs::default()).map(drop), "object_size");
    refused(KmemCache::<TooWide>::create("too-wide", &CacheArgs::default()).map(drop), "align");
}

#[test]
fn a_bad_alignment_is_refused_for_types_too() {
    for align in [3, 12, 8192] {
        let args = CacheArgs { align, ..CacheArgs::default() };
        let made = KmemCache::<u64>::create("odd", &args);
        assert!(matches!(made, Err(Error::BadArgument { argument: "align", .. })), "{align}: {made:?}");
    }
}

#[test]
fn memory_that_is_out_is_an_error_and_drops_the_value() {
    let (source, switch) = failing_source();
    let arena = Arena::create(ArenaConfig { source, ..config(BackendKind::Locked, Form::Packed) }).unwrap();
    let log = Mutex::new(Vec::new());
    let cache = KmemCache::create_in(arena, "starved", &CacheArgs::default()).unwrap();
    switch.fail_now();
    let Err(error) = cache.alloc(Tracked(9, &log)) else { panic!("there was memory") };
    assert_eq!(error.to_string(), "cache 'starved': out of memory for an object");
    assert_eq!(*log.lock().unwrap(), [9]);
    switch.heal();
    drop(cache.alloc(Tracked(10, &log)).unwrap());
    assert_eq!(*log.lock().unwrap(), [9, 10]);
}

#[test]
fn a_leaked_box_keeps_the_cache() {
    let arena = Arena::create(config(BackendKind::Locked, Form::Packed)).unwrap();
    let cache = KmemCache::create_in(arena, "leaky", &CacheArgs::default()).unwrap();
    std::mem::forget(cache.alloc(7_u64).unwrap());
    let Err((Error::CacheBusy { live: 1, sample, .. }, cache)) = cache.destroy() else { panic!("not refused") };
    assert_eq!(sample.len(), 1);
    drop(cache.alloc(8).unwrap());
    drop(cache);
    assert_eq!(arena.cache_names().len(), 1);
}

#[test]
fn a_cache_goes_with_its_handle() {
    let arena = Arena::create(config(BackendKind::Locked, Form::Packed)).unwrap();
    let cache = KmemCache::create_in(arena, "dropped", &CacheArgs::default()).unwrap();
    drop(cache.alloc([1_u8; 500]).unwrap());
    drop(cache);
    assert!(arena.cache_names().is_empty());
    assert_eq!(arena.info().used, 0);
}

#[test]
fn boxes_travel_between_threads() {
    let cache = KmemCache::create("travel", &CacheArgs::default()).unwrap();
    let dropped = Arc::new(Counter::new());
    struct Count(Arc<Counter>);
    impl Drop for Count {
        fn drop(&mut self) {
            self.0.add(1);
        }
    }
    std::thread::scope(|scope| {
        let (send, receive) = std::sync::mpsc::channel();
        scope.spawn(move || receive.into_iter().for_each(drop::<CacheBox<'_, Count>>));
        for _ in 0..3 {
            let (send, cache, dropped) = (send.clone(), &cache, &dropped);
            scope.spawn(move || {
                for _ in 0..2000 {
                    send.send(cache.alloc(Count(dropped.clone())).unwrap()).unwrap();
                }
            });
        }
    });
    assert_eq!(dropped.get(), 6000);
    // SAFETY: the cache lives, here and below.
    audit(unsafe { cache.raw() }, 0);
}
