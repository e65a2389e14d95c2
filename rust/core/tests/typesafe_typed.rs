//! `TypesafeCache`: what readers look at is always a value of the type.

mod support;

use haybarn::sync::{Counter, Published};
use haybarn::{
    AllocError, Arena, BackendKind, CacheArgs, CtorCache, Error, Form, Handle, SlabFlags, TypesafeCache, rcu,
};
use std::convert::Infallible;
use std::sync::Arc;
use support::*;

/// A value of two halves that belong together, and a count of references.
struct Pair {
    refs: Published,
    key: Published,
    check: Published,
    /// On the heap, so that a value that was dropped too early is seen.
    constant: Box<u64>,
    dropped: Arc<Counter>,
}

const CONSTANT: u64 = 0x7970_6573_6166_6521;

impl Pair {
    fn new(dropped: &Arc<Counter>) -> Self {
        let (refs, key, check) = (Published::new(0), Published::new(0), Published::new(0));
        Self { refs, key, check, constant: Box::new(CONSTANT), dropped: dropped.clone() }
    }

    fn try_get(&self) -> bool {
        let mut refs = self.refs.read();
        loop {
            if refs == 0 {
                return false;
            }
            match self.refs.publish_if(refs, refs + 1) {
                Ok(()) => return true,
                Err(now) => refs = now,
            }
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.dropped.add(1);
    }
}

fn cache(arena: &'static Arena, name: &str) -> (TypesafeCache<Pair, Infallible>, Arc<Counter>) {
    let dropped = Arc::new(Counter::new());
    let made = dropped.clone();
    let cache = TypesafeCache::create_in(arena, name, &CacheArgs::default(), move || Ok(Pair::new(&made)));
    (cache.unwrap(), dropped)
}

fn one_arena() -> &'static Arena {
    arena(config(BackendKind::Locked, Form::Packed)).expect("everywhere")
}

#[test]
fn a_value_lives_in_the_slab_and_every_one_is_dropped_once() {
    for arena in every_arena() {
        let (cache, dropped) = cache(arena, "lives");
        let first = cache.alloc().unwrap();
        first.key.publish(7);
        let handle = first.handle();
        drop(first);
        let again = cache.alloc().unwrap();
        assert_eq!((again.handle(), again.key.read()), (handle, 7), "as its last owner left it");
        drop(again);
        assert_eq!(dropped.get(), 0);
        assert!(cache.info().flags.contains(SlabFlags::TYPESAFE_BY_RCU));
        assert!(cache.info().freeptr_offset >= size_of::<Pair>(), "off the value");
        let total = cache.stats().total_objects;
        cache.destroy().unwrap();
        assert_eq!(dropped.get(), total);
    }
}

#[test]
fn values_outlive_the_sections_that_could_see_them() {
    for arena in every_arena() {
        let (cache, dropped) = cache(arena, "outlive");
        let boxes: Vec<_> = (0..1000).map(|_| cache.alloc().unwrap()).collect();
        let handles: Vec<_> = boxes.iter().map(|object| object.handle()).collect();
        {
            let reading = rcu::read_lock();
            drop(boxes);
            assert!(cache.shrink() > 0);
            assert_eq!((cache.reap(), dropped.get()), (0, 0));
            for &handle in &handles {
                // SAFETY: known to this section since before the boxes were dropped.
                assert_eq!(*unsafe { cache.look(&reading, handle) }.constant, CONSTANT);
            }
        }
        rcu::synchronize().unwrap();
        cache.destroy().unwrap();
        assert!(dropped.get() >= 1000);
    }
}

#[test]
fn a_handle_is_its_address() {
    let (cache, _) = cache(one_arena(), "handle");
    let object = cache.alloc().unwrap();
    let handle = object.handle();
    assert_eq!(Handle::from_bits(handle.to_bits()), Some(handle));
    assert_eq!(Handle::<Pair>::from_bits(0), None);
    assert_eq!(handle.to_bits(), std::ptr::from_ref(&*object).addr() as u64);
}

#[test]
fn a_free_pointer_on_the_value_is_refused() {
    let args = CacheArgs { freeptr_offset: Some(0), ..CacheArgs::default() };
    let typesafe = TypesafeCache::create_in(one_arena(), "on-it", &args, || Ok::<u64, Infallible>(0)).map(drop);
    let ctor = CtorCache::create_in(one_arena(), "on-it", &args, || Ok::<u64, Infallible>(0), |_| {}).map(drop);
    for refused in [typesafe, ctor] {
        match refused {
            Err(Error::BadArgument { argument, legal, .. }) => {
                assert_eq!(argument, "freeptr_offset");
                assert!(legal.contains("none"), "{legal}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_constructor_that_fails_is_the_allocations_error() {
    let cache = TypesafeCache::create_in(one_arena(), "fails", &CacheArgs::default(), || Err::<u64, _>("no"));
    let cache = cache.unwrap();
    assert_eq!(cache.alloc().map(drop), Err(AllocError::Ctor("no")));
    cache.destroy().unwrap();
}

/// One place, one writer that puts one object after the other there, readers that look it up.
#[test]
fn readers_get_what_they_looked_for_or_nothing() {
    for arena in every_arena() {
        let (cache, dropped) = cache(arena, "readers");
        let (place, over) = (Published::new(0), Published::new(0));
        std::thread::scope(|threads| {
            for _ in 0..2 {
                threads.spawn(|| {
                    while over.read() == 0 {
                        let reading = rcu::read_lock();
                        let Some(handle) = Handle::from_bits(place.read()) else { continue };
                        // SAFETY: read inside the section from the place that the writer clears first.
                        let pair = unsafe { cache.look(&reading, handle) };
                        assert_eq!(*pair.constant, CONSTANT, "no value any more");
                        let key = pair.key.read();
                        if pair.try_get() {
                            if pair.key.read() == key {
                                assert_eq!(pair.check.read(), !key, "the halves of two values");
                            }
                            pair.refs.take(u64::MAX);
                        }
                    }
                });
            }
            for n in 0..5_000 {
                let object = cache.alloc().unwrap();
                object.key.publish(n);
                object.check.publish(!n);
                object.refs.publish(1);
                place.publish(object.handle().to_bits());
                if n % 64 == 0 {
                    std::thread::yield_now();
                }
                place.publish(0);
                // The box is the object's owner, and waits here for the readers that have a reference.
                while object.refs.publish_if(1, 0).is_err() {
                    std::thread::yield_now();
                }
                drop(object);
                if n % 500 == 0 {
                    let _died = cache.shrink();
                }
            }
            over.publish(1);
        });
        cache.destroy().unwrap();
        assert!(dropped.get() > 0);
    }
}
