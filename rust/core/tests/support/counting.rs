//! Hooks that write down every call, and can be told to fail.

use haybarn::{CacheArgs, CtorError, Hooks, RawCache, Stat, take_ctor_error};
use std::collections::HashSet;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard};

/// What a constructor leaves in an object: its address, scrambled.
pub fn mark(object: NonNull<u8>) -> u64 {
    object.as_ptr().addr() as u64 ^ 0x5afe_c0de_5afe_c0de
}

pub fn read(object: NonNull<u8>) -> u64 {
    // SAFETY: objects of these tests are at least eight bytes, aligned, and ours.
    unsafe { object.cast().read() }
}

pub fn write(object: NonNull<u8>, value: u64) {
    // SAFETY: as above.
    unsafe { object.cast().write(value) };
}

#[derive(Default)]
pub struct Book {
    /// Objects that are constructed now.
    pub alive: HashSet<usize>,
    pub constructed: usize,
    pub destructed: usize,
    pub failed: usize,
    /// Calls that succeed before the next one fails.
    pub fail_after: Option<usize>,
}

/// Writes down every call, and fails when told to.
#[derive(Default)]
pub struct Counting(Mutex<Book>);

impl Counting {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn args(self: &Arc<Self>) -> CacheArgs {
        CacheArgs { hooks: Some(self.clone()), ..CacheArgs::default() }
    }

    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap()
    }

    pub fn alive(&self) -> usize {
        self.book().alive.len()
    }

    pub fn fail_after(&self, calls: impl Into<Option<usize>>) {
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

pub fn check(cache: RawCache, objects: &[NonNull<u8>]) {
    for &object in objects {
        assert_eq!(read(object), mark(object), "{}: an object without its constructed state", cache.info().name);
    }
}

/// Why the last call failed, where it was the constructor of these tests.
pub fn said() -> Option<&'static str> {
    take_ctor_error().and_then(|error| error.0.downcast_ref::<&'static str>().copied())
}

/// What of a cache must be as before a call that failed: all but the counters that only ever grow.
pub fn state(cache: RawCache, hooks: &Counting) -> [u64; 5] {
    let stats = cache.stats();
    let built = stats.get(Stat::CtorObject) - stats.get(Stat::DtorObject);
    [stats.slabs, stats.total_objects, stats.objects, built, hooks.alive() as u64]
}
