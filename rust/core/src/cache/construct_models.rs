//! Each object is constructed once and destructed once, in every schedule of three threads that make slabs, kill them and
//! empty the graveyard together.

use super::shuttle_tests::{
    SCHEDULES, SMALL, Work, Worker, arena, churns, fills_and_empties, runner, scenario_with, shrinks,
};
use super::{CacheArgs, CtorError, DtorMode, Hooks};
use crate::sync::Bug;
use core::cell::Cell;
use core::ptr::NonNull;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Objects that are constructed now. The lock is std's: no task is switched inside a callback, so that the frames of callbacks,
/// which are a thread's, do not mix.
#[derive(Default)]
struct Alive(Mutex<HashSet<usize>>);

impl Alive {
    fn change<R>(&self, change: impl FnOnce(&mut HashSet<usize>) -> R) -> R {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

thread_local! {
    /// What was wrong; a panic inside a destructor would be caught. All tasks of a schedule are one thread to the system.
    static WRONG: Cell<Option<&'static str>> = const { Cell::new(None) };
}

fn wrong(what: &'static str) {
    WRONG.set(Some(what));
}

impl Hooks for Alive {
    fn construct(&self, object: NonNull<u8>) -> Result<(), CtorError> {
        if !self.change(|alive| alive.insert(object.as_ptr().addr())) {
            wrong("constructed twice");
        }
        Ok(())
    }

    fn destruct(&self, object: NonNull<u8>) {
        if !self.change(|alive| alive.remove(&object.as_ptr().addr())) {
            wrong("destructed twice, or never constructed");
        }
    }
}

fn reaps(worker: &mut Worker) {
    for _ in 0..3 {
        worker.on_cpu();
        worker.cache.reap();
    }
}

fn check(dtor_mode: DtorMode, works: [Work; 3]) -> impl Fn() + Send + Sync + 'static {
    let arena = arena();
    move || {
        let alive = Arc::<Alive>::default();
        let args = CacheArgs { hooks: Some(alive.clone()), dtor_mode, ..CacheArgs::default() };
        scenario_with(arena, SMALL, works, args);
        assert_eq!(WRONG.take(), None);
        assert!(alive.change(|alive| alive.is_empty()), "an object was not destructed");
    }
}

fn explore(dtor_mode: DtorMode, works: [Work; 3]) {
    runner(RandomScheduler::new_from_seed(4, SCHEDULES)).run(check(dtor_mode, works));
    runner(PctScheduler::new_from_seed(4, 3, SCHEDULES)).run(check(dtor_mode, works));
}

#[test]
fn shuttle_ctor_shrinks_meet() {
    explore(DtorMode::Inline, [fills_and_empties, shrinks, shrinks]);
}

#[test]
fn shuttle_ctor_reapers_meet() {
    explore(DtorMode::Manual, [shrinks, reaps, reaps]);
    explore(DtorMode::Manual, [churns, shrinks, reaps]);
}

#[test]
#[should_panic(expected = "destructed twice")]
fn shuttle_ctor_catches_destructors_before_the_slab_is_owned() {
    Bug::DestructUnowned.plant(|| explore(DtorMode::Manual, [shrinks, reaps, reaps]));
}
