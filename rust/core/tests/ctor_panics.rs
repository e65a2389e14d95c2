//! Constructors and destructors that panic, and pages that the hooks keep.

mod support;

use haybarn::{CacheArgs, CtorError, DtorMode, Hooks, Stat, set_virtual_cpu};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};
use support::late::*;
use support::*;

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
