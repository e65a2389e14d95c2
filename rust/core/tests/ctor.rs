//! Constructors and destructors: counts, failures at every place, re-entry, panics, and what destroy waits for.

mod support;

use haybarn::{CacheArgs, CtorError, Hooks, RawCache, Stat, take_ctor_error};
use std::collections::HashSet;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard};
use support::*;

/// What a constructor leaves in an object: its address, scrambled.
fn mark(object: NonNull<u8>) -> u64 {
    object.as_ptr().addr() as u64 ^ 0x5afe_c0de_5afe_c0de
}

fn read(object: NonNull<u8>) -> u64 {
    // SAFETY: objects of these tests are at least eight bytes, aligned, and ours.
    unsafe { object.cast().read() }
}

fn write(object: NonNull<u8>, value: u64) {
    // SAFETY: as above.
    unsafe { object.cast().write(value) };
}

#[derive(Default)]
struct Book {
    /// Objects that are constructed now.
    alive: HashSet<usize>,
    constructed: usize,
    destructed: usize,
    failed: usize,
    /// Calls that succeed before the next one fails.
    fail_after: Option<usize>,
}

/// Writes down every call, and fails when told to.
#[derive(Default)]
struct Counting(Mutex<Book>);

impl Counting {
    fn new() -> Arc<Self> {
        Arc::default()
    }

    fn args(self: &Arc<Self>) -> CacheArgs {
        CacheArgs { hooks: Some(self.clone()), ..CacheArgs::default() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap()
    }

    fn alive(&self) -> usize {
        self.book().alive.len()
    }

    fn fail_after(&self, calls: impl Into<Option<usize>>) {
        self.book().fail_after = calls.into();
    }
}

impl Hooks for Counting {
    fn construct(&self, object: NonNull<u8>) -> Result<(), CtorError> {
        let mut book = self.book();
        match &mut book.fail_after {
            Some(0) => {
                book.failed += 1;
                return Err(CtorError(Box::new("no more of these")));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        assert!(book.alive.insert(object.as_ptr().addr()), "constructed twice");
        book.constructed += 1;
        write(object, mark(object));
        Ok(())
    }

    fn destruct(&self, object: NonNull<u8>) {
        let mut book = self.book();
        assert!(book.alive.remove(&object.as_ptr().addr()), "destructed what was not constructed");
        assert_eq!(read(object), mark(object), "the constructed state is gone");
        book.destructed += 1;
        write(object, 0);
    }
}

fn check(cache: RawCache, objects: &[NonNull<u8>]) {
    for &object in objects {
        assert_eq!(read(object), mark(object), "{}: an object without its constructed state", cache.info().name);
    }
}

/// Why the last call failed, where it was the constructor of these tests.
fn said() -> Option<&'static str> {
    take_ctor_error().and_then(|error| error.0.downcast_ref::<&'static str>().copied())
}

#[test]
fn every_object_is_constructed_once_and_destructed_once() {
    for arena in every_arena() {
        for encode_freeptr in [false, true] {
            let hooks = Counting::new();
            let cache = create(arena, "once", 100, &CacheArgs { encode_freeptr, ..hooks.args() });
            for round in 0..4 {
                let objects = take_many(cache, 1000);
                check(cache, &objects);
                audit(cache, objects.len());
                assert_eq!(hooks.alive() as u64, cache.stats().total_objects, "round {round}");
                give(cache, objects);
                let _ = cache.shrink();
                assert_eq!(hooks.alive(), 0);
            }
            {
                let book = hooks.book();
                assert_eq!((book.constructed, book.constructed >= 4000), (book.destructed, true));
            }
            end(cache);
            assert_eq!(Arc::strong_count(&hooks), 1, "the cache's end lets go of the hooks");
        }
    }
}

/// What of a cache must be as before a call that failed: all but the counters that only ever grow.
fn state(cache: RawCache, hooks: &Counting) -> [u64; 5] {
    let stats = cache.stats();
    let built = stats.get(Stat::CtorObject) - stats.get(Stat::DtorObject);
    [stats.slabs, stats.total_objects, stats.objects, built, hooks.alive() as u64]
}

#[test]
fn a_failure_at_every_object_of_a_slab_unwinds_it() {
    for arena in every_arena() {
        let hooks = Counting::new();
        let cache = create(arena, "fails", 300, &hooks.args());
        let total = cache.info().objs_per_slab as usize;
        for k in 0..total {
            hooks.fail_after(k);
            assert!(cache.alloc(PLAIN).is_none());
            assert_eq!(said(), Some("no more of these"));
            assert!(take_ctor_error().is_none(), "the error is taken once");
            assert_eq!(state(cache, &hooks), [0; 5], "k = {k}");
            assert_eq!(hooks.book().failed, k + 1, "the first error ends the call");
            assert_eq!(cache.stats().get(Stat::AllocSlab), 0);
            assert_eq!(arena.info().used, 0, "the pages went back");
            audit_drained(cache, 0);
        }
        hooks.fail_after(None);
        let objects = take_many(cache, 2 * total);
        check(cache, &objects);
        give(cache, objects);
        end(cache);
        assert_eq!(hooks.alive(), 0);
    }
}
