//! What happens inside constructors and destructors: allocations that are refused, frees that wait, panics.

mod support;

use haybarn::{CacheArgs, CtorError, DtorMode, Error, Hooks, RawCache, Stat, set_virtual_cpu, take_ctor_error};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};
use support::*;

type Callback = Box<dyn Fn(NonNull<u8>) -> Result<(), CtorError> + Send + Sync>;

/// Hooks that are given after the cache is made, so that they can name it.
#[derive(Default)]
struct Late {
    construct: Mutex<Option<Arc<Callback>>>,
    destruct: Mutex<Option<Arc<Callback>>>,
}

impl Late {
    fn args(self: &Arc<Self>) -> CacheArgs {
        CacheArgs { hooks: Some(self.clone()), ..CacheArgs::default() }
    }

    fn on_construct(&self, call: impl Fn(NonNull<u8>) -> Result<(), CtorError> + Send + Sync + 'static) {
        *self.construct.lock().unwrap() = Some(Arc::new(Box::new(call)));
    }

    fn on_destruct(&self, call: impl Fn(NonNull<u8>) + Send + Sync + 'static) {
        let call = move |object: NonNull<u8>| {
            call(object);
            Ok(())
        };
        *self.destruct.lock().unwrap() = Some(Arc::new(Box::new(call)));
    }

    fn quiet(&self) {
        *self.construct.lock().unwrap() = None;
        *self.destruct.lock().unwrap() = None;
    }
}

impl Hooks for Late {
    fn construct(&self, object: NonNull<u8>) -> Result<(), CtorError> {
        let call = self.construct.lock().unwrap().clone();
        call.map_or(Ok(()), |call| call(object))
    }

    fn destruct(&self, object: NonNull<u8>) {
        let call = self.destruct.lock().unwrap().clone();
        let _done = call.map(|call| call(object));
    }
}

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

fn two_caches(arena: &'static haybarn::Arena) -> (Arc<Late>, RawCache, RawCache) {
    let hooks = Arc::<Late>::default();
    // Without sheaves every call comes by the slow paths, where re-entry is seen.
    let flags = haybarn::SlabFlags::NOLEAKTRACE;
    let first = create(arena, "first", 512, &CacheArgs { flags, ..hooks.args() });
    let other = create(arena, "other", 64, &CacheArgs { flags, ..CacheArgs::default() });
    (hooks, first, other)
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
        let first_one = pool.pop();
        DEPTH.set(0);
        give(first, first_one);
        while first.shrink() > 0 {}
        assert!(first.stats().get(Stat::FreeQueued) > 0 && other.stats().get(Stat::FreeQueued) > 0);
        // SAFETY: nobody uses it any more; it takes what is left in the pool along.
        let ended = unsafe { first.destroy() };
        if let Err(error) = ended {
            let left = pool.take();
            assert!(!left.is_empty(), "{error}");
            give(first, left);
            // SAFETY: as above.
            unsafe { first.destroy() }.unwrap();
        }
        hooks.quiet();
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

#[test]
fn a_panic_in_a_constructor_goes_on_and_leaves_all_as_before() {
    for arena in every_arena() {
        set_virtual_cpu(Some(0));
        let (hooks, first, other) = two_caches(arena);
        let with_sheaves = create(arena, "sheaves", 512, &hooks.args());
        for cache in [first, with_sheaves] {
            let kept = take_many(cache, 3);
            let total = cache.info().objs_per_slab as u64;
            let some = cache.stats().total_objects as usize - kept.len();
            let rest = take_bulk(cache, some).unwrap();
            for k in 0..total {
                let calls = Mutex::new(0);
                hooks.on_construct(move |_| {
                    let mut calls = calls.lock().unwrap();
                    *calls += 1;
                    assert!(*calls != k + 1, "planted panic");
                    Ok(())
                });
                let before = cache.stats();
                let panic = catch_unwind(AssertUnwindSafe(|| cache.alloc(PLAIN))).unwrap_err();
                let text =
                    panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|&s| s.into()));
                assert_eq!(text.as_deref(), Some("planted panic"));
                let after = cache.stats();
                assert_eq!(
                    (before.slabs, before.total_objects, before.objects),
                    (after.slabs, after.total_objects, after.objects)
                );
                audit(cache, kept.len() + rest.len());
            }
            // Bulk too.
            let panic = catch_unwind(AssertUnwindSafe(|| {
                hooks.on_construct(|_| panic!("planted panic"));
                take_bulk(cache, 2000)
            }));
            assert!(panic.is_err());
            audit(cache, kept.len() + rest.len());
            hooks.quiet();
            let object = take(cache);
            give(cache, kept.into_iter().chain(rest).chain([object]));
            end(cache);
        }
        end(other);
        set_virtual_cpu(None);
    }
}

#[test]
fn a_panic_in_a_destructor_ends_that_call_only() {
    /// A payload that panics when it is dropped.
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("planted panic of a payload");
        }
    }
    for arena in every_arena() {
        let (hooks, first, other) = two_caches(arena);
        let calls = Arc::new(Mutex::new(0_u64));
        let counted = calls.clone();
        hooks.on_destruct(move |_| {
            let mut calls = counted.lock().unwrap();
            *calls += 1;
            let odd = *calls % 2 == 1;
            drop(calls);
            if odd {
                std::panic::panic_any(Bomb);
            }
        });
        let objects = take_many(first, 100);
        let total = first.stats().total_objects;
        give(first, objects);
        while first.shrink() > 0 {}
        assert_eq!(*calls.lock().unwrap(), total, "each object's destructor was called once");
        assert_eq!(first.stats().get(Stat::DtorPanic), total.div_ceil(2));
        assert_eq!(first.stats().total_objects, 0);
        hooks.quiet();
        give(first, [take(first)]);
        end(first);
        end(other);
    }
}

/// The hooks may keep a slab's pages, after the destructors and after a construction that failed.
#[test]
fn pages_that_the_hooks_keep_are_theirs_to_give_back() {
    struct Keeper(Mutex<Vec<(usize, usize)>>, Mutex<bool>);
    impl Hooks for Keeper {
        fn construct(&self, object: NonNull<u8>) -> Result<(), CtorError> {
            // SAFETY: the object is being made.
            unsafe { object.cast::<u64>().write(7) };
            if *self.1.lock().unwrap() { Err(CtorError(Box::new(()))) } else { Ok(()) }
        }
        fn destruct(&self, _: NonNull<u8>) {}
        fn keep_run(&self, base: NonNull<u8>, bytes: usize) -> bool {
            self.0.lock().unwrap().push((base.as_ptr().expose_provenance(), bytes));
            true
        }
    }
    for arena in every_arena() {
        for (size, has_dtor_modes) in [(64, DtorMode::Inline), (3 << 20, DtorMode::Manual)] {
            let hooks = Arc::new(Keeper(Mutex::default(), Mutex::default()));
            let args = CacheArgs { hooks: Some(hooks.clone()), dtor_mode: has_dtor_modes, ..CacheArgs::default() };
            let cache = create(arena, "keeps", size, &args);
            give(cache, [take(cache)]);
            let slabs = cache.stats().slabs as usize;
            while cache.shrink() > 0 {}
            cache.reap();
            *hooks.1.lock().unwrap() = true;
            assert!(cache.alloc(PLAIN).is_none());
            // SAFETY: the test is done with it.
            unsafe { cache.destroy() }.unwrap();
            let kept = std::mem::take(&mut *hooks.0.lock().unwrap());
            assert_eq!(kept.len(), slabs + 1);
            for (base, bytes) in kept {
                let base = NonNull::new(std::ptr::with_exposed_provenance_mut::<u8>(base)).unwrap();
                assert!(bytes >= size);
                // SAFETY: the pages are ours since the hooks kept them.
                unsafe {
                    assert_eq!(base.cast::<u64>().read(), 7, "still as they were");
                    arena.free_pages(base).unwrap();
                    assert!(arena.free_pages(base).is_err());
                }
            }
            assert_eq!(arena.info().used, 0);
        }
    }
}
