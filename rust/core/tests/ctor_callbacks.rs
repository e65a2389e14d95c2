//! What happens inside constructors and destructors: allocations that are refused, frees that wait.

mod support;

use haybarn::{Error, RawCache, Stat, take_ctor_error};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};
use support::late::*;
use support::*;

/// Objects that callbacks take from.
struct Pool(Mutex<Vec<NonNull<u8>>>);

// SAFETY: objects may be freed by any thread.
unsafe impl Send for Pool {}
// SAFETY: as above, one at a time.
unsafe impl Sync for Pool {}

impl Pool {
    fn of(cache: RawCache, count: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(take_many(cache, count))))
    }

    fn pop(&self) -> Option<NonNull<u8>> {
        self.0.lock().unwrap().pop()
    }

    fn take(&self) -> Vec<NonNull<u8>> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// The refusal that the last call of this thread left.
fn refusal() -> Option<(String, String, &'static str)> {
    match take_ctor_error().map(|error| error.0.downcast::<Error>().map(|error| *error)) {
        Some(Ok(Error::Reentry { outer, inner, what })) => Some((outer, inner, what)),
        _ => None,
    }
}

#[test]
fn an_allocation_from_the_same_cache_inside_its_constructor_is_refused() {
    for arena in every_arena() {
        let (hooks, first, other) = two_caches(arena);
        hooks.on_construct(move |_| {
            assert!(first.check_callbacks().is_err());
            assert!(!first.alloc_bulk(PLAIN, &mut [std::ptr::null_mut(); 3]));
            assert!(refusal().is_some());
            // Another cache's is fine.
            assert_eq!(other.check_callbacks(), Ok(()));
            give(other, [take(other)]);
            assert!(first.alloc(PLAIN).is_none());
            Err(take_ctor_error().expect("a refusal"))
        });
        assert!(first.alloc(PLAIN).is_none());
        let (outer, inner, what) = refusal().expect("the constructor passed the refusal on");
        assert_eq!((outer.as_str(), inner.as_str()), ("first", "first"));
        assert_eq!(what, "an allocation inside the constructor");
        assert_eq!(first.stats().get(Stat::ReentryRefused), 3);
        assert_eq!(first.check_callbacks(), Ok(()), "over");
        hooks.quiet();
        end(first);
        end(other);
    }
}

/// Also through another cache's constructor.
#[test]
fn an_allocation_that_leads_back_by_another_cache_is_refused() {
    for arena in every_arena() {
        let (hooks, inner_hooks) = (Arc::<Late>::default(), Arc::<Late>::default());
        let a = create(arena, "a", 512, &hooks.args());
        let b = create(arena, "b", 512, &inner_hooks.args());
        hooks.on_construct(move |_| {
            b.alloc(PLAIN).map(|object| give(b, [object])).ok_or_else(|| take_ctor_error().unwrap())
        });
        inner_hooks.on_construct(move |_| {
            a.alloc(PLAIN).map(|object| give(a, [object])).ok_or_else(|| take_ctor_error().unwrap())
        });
        assert!(a.alloc(PLAIN).is_none());
        let (outer, inner, _) = refusal().unwrap();
        assert_eq!((outer.as_str(), inner.as_str()), ("a", "a"));
        assert_eq!((a.stats().slabs, b.stats().slabs), (0, 0));
        hooks.quiet();
        inner_hooks.quiet();
        end(a);
        end(b);
    }
}

#[test]
fn every_allocation_inside_a_destructor_is_refused() {
    for arena in every_arena() {
        let (hooks, first, other) = two_caches(arena);
        let seen = Arc::<Mutex<Vec<_>>>::default();
        let log = seen.clone();
        hooks.on_destruct(move |_| {
            for cache in [first, other] {
                assert!(cache.check_callbacks().is_err());
                assert!(cache.alloc(PLAIN).is_none());
                log.lock().unwrap().push(refusal().expect("a refusal"));
            }
        });
        give(first, [take(first)]);
        assert_eq!(first.shrink(), 1);
        let seen = seen.lock().unwrap().clone();
        assert_eq!(seen.len(), 2 * first.info().objs_per_slab as usize);
        let expected = |inner: &str| ("first".to_owned(), inner.to_owned(), "an allocation inside the destructor");
        assert_eq!(seen[..2], [expected("first"), expected("other")]);
        let text = Error::Reentry { outer: "first".into(), inner: "other".into(), what: seen[1].2 }.to_string();
        assert_eq!(
            text,
            "cache 'other': an allocation inside the destructor of cache 'first' is refused: it could lead back into the callback"
        );
        assert_eq!(first.stats().get(Stat::DtorPanic), 0);
        hooks.quiet();
        end(first);
        end(other);
    }
}

/// Chains of dependent objects: each destructor frees one object of the same cache, which may empty the next slab. Nothing
/// recurses, nothing is lost.
#[test]
fn frees_inside_destructors_wait_and_are_done() {
    for arena in every_arena() {
        let (hooks, first, other) = two_caches(arena);
        let pool = Pool::of(first, 600);
        let others = Pool::of(other, 600);
        let (objects, strangers) = (pool.clone(), others.clone());
        hooks.on_destruct(move |_| {
            let depth = stack_depth();
            assert!(depth < 1 << 20, "destructors nest: {depth} bytes");
            give(first, objects.pop());
            give_bulk(other, strangers.pop().as_slice());
        });
        // A slab's worth: from there on each destructor frees one more, until all have gone.
        let some: Vec<_> = (0..2 * first.info().objs_per_slab).filter_map(|_| pool.pop()).collect();
        DEPTH.set(0);
        give(first, some);
        while first.shrink() > 0 {}
        assert!(pool.pop().is_none(), "one destructor after the other freed all");
        assert_eq!((first.stats().objects, first.stats().slabs), (0, 0));
        assert!(first.stats().get(Stat::FreeQueued) >= 500 && other.stats().get(Stat::FreeQueued) > 0);
        hooks.quiet();
        end(first);
        let left = others.take();
        give(other, left);
        end(other);
    }
}

thread_local! {
    static DEPTH: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Bytes of stack below the first call of this thread.
fn stack_depth() -> usize {
    let here = 0_u8;
    let here = (&raw const here).addr();
    if DEPTH.get() == 0 {
        DEPTH.set(here);
    }
    DEPTH.get().abs_diff(here)
}

/// A free that waits counts as live until the callback is over, and is done before the call returns.
#[test]
fn frees_inside_a_constructor_wait_for_its_end() {
    for arena in every_arena() {
        let (hooks, first, other) = two_caches(arena);
        let kept = Pool::of(first, 5);
        let objects = kept.clone();
        hooks.on_construct(move |_| {
            let before = first.stats().objects;
            give(first, objects.pop());
            assert_eq!(first.stats().objects, before, "it waits");
            Ok(())
        });
        let many = take_many(first, 2 * first.info().objs_per_slab as usize);
        assert_eq!(first.stats().get(Stat::FreeQueued), 5);
        audit(first, many.len());
        hooks.quiet();
        give(first, many);
        end(first);
        end(other);
    }
}

#[test]
fn the_end_of_a_cache_inside_its_own_callbacks_is_refused() {
    for arena in every_arena() {
        let (hooks, first, other) = two_caches(arena);
        let ends = Arc::new(Mutex::new(Vec::new()));
        let log = ends.clone();
        hooks.on_destruct(move |_| {
            // SAFETY: it is refused.
            log.lock().unwrap().push(unsafe { first.destroy() });
        });
        give(first, [take(first)]);
        let _ = first.shrink();
        let ends = std::mem::take(&mut *ends.lock().unwrap());
        assert!(ends.iter().all(|end| matches!(end, Err(Error::Reentry { .. }))) && !ends.is_empty(), "{ends:?}");
        hooks.quiet();
        end(first);
        end(other);
    }
}

/// Another cache may end inside a destructor, with what was queued of it: all its destructors have run when it returns.
#[test]
fn another_cache_may_end_inside_a_destructor() {
    for arena in every_arena() {
        let (hooks, first, other) = two_caches(arena);
        let counting = support::counting::Counting::new();
        let third = create(arena, "third", 100, &counting.args());
        let objects = Pool::of(third, 30);
        let book = counting.clone();
        hooks.on_destruct(move |_| {
            let objects = objects.take();
            if objects.is_empty() {
                return;
            }
            give(third, objects);
            // SAFETY: nobody uses it any more.
            unsafe { third.destroy() }.unwrap();
            assert_eq!(book.alive(), 0);
        });
        give(first, [take(first)]);
        let _ = first.shrink();
        assert_eq!(arena.cache_names(), ["first", "other"]);
        hooks.quiet();
        end(first);
        end(other);
    }
}
