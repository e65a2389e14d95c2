//! New names against the end of the last one, the real code under shuttle: a name never comes to lie on a storage that is being
//! ended or has been, a storage is ended once, and none is left when all names have gone.
//!
//! Run with `RUSTFLAGS="--cfg shuttle" cargo test -p haybarn --release --lib shuttle_names`.

use super::join::create_in_storage;
use super::shuttle_tests::{SCHEDULES, arena, runner};
use super::{AllocFlags, Arena, CacheArgs, CacheName, RawCache};
use crate::error::Error;
use crate::percpu::set_virtual_cpu;
use crate::sync::{Bug, Counter, scheduled};
use core::any::Any;
use core::ptr::NonNull;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use std::sync::Arc;

/// Of these and of up to seven bytes less all names share.
const SIZE: usize = 504;

/// A thread of a scenario.
struct Task {
    arena: &'static Arena,
    /// Its number, which names its names and says which CPU it is on.
    n: u32,
}

type Work = fn(&Task);

/// Names that came to share another's storage, and ends that live objects refused.
static JOINED: Counter = Counter::new();
static REFUSED: Counter = Counter::new();

impl Task {
    fn on_cpu(&self) {
        set_virtual_cpu(Some(self.n % 2));
    }

    fn audit(&self) {
        self.arena.registry().audit();
    }

    fn made(&self, name: Result<CacheName, Error>) -> CacheName {
        let name = name.expect("memory for a name");
        self.audit();
        assert!(name.is_living(), "a name was made on a storage that ended");
        JOINED.add(u64::from(!name.is_primary()));
        name
    }

    fn make(&self) -> CacheName {
        let text = format!("task-{}", self.n);
        self.made(CacheName::create(self.arena, &text, SIZE - self.n as usize, &CacheArgs::default()))
    }

    fn take(&self, name: &CacheName) -> (RawCache, NonNull<u8>) {
        // SAFETY: each task frees what it took before it ends its name.
        let raw = unsafe { name.raw() };
        self.on_cpu();
        let object = raw.alloc(AllocFlags::empty()).expect("memory");
        // SAFETY: the object is ours, and larger than this.
        unsafe { object.cast::<usize>().add(1).write(object.as_ptr().addr()) };
        (raw, object)
    }

    fn give(&self, (raw, object): (RawCache, NonNull<u8>)) {
        // SAFETY: the object is ours until the free.
        let mark = unsafe { object.cast::<usize>().add(1).read() };
        assert_eq!(mark, object.as_ptr().addr(), "an object in use is somebody else's too");
        self.on_cpu();
        // SAFETY: as above.
        unsafe { raw.free(object) };
    }

    fn end(&self, name: &CacheName) {
        self.on_cpu();
        // SAFETY: the task uses it no more.
        let ended = unsafe { name.destroy() };
        assert_eq!(ended, Ok(()), "a name without live objects did not end");
        assert!(!name.is_living(), "a name outlived its end");
        self.audit();
    }
}

fn comes_and_goes(task: &Task) {
    for _ in 0..2 {
        let name = task.make();
        task.give(task.take(&name));
        task.end(&name);
    }
}

/// With an object it is refused if it is the last name; a name that came meanwhile got another storage.
fn is_refused(task: &Task) {
    let name = task.make();
    let held = task.take(&name);
    task.on_cpu();
    // SAFETY: a storage with a live object does not end.
    match unsafe { name.end_storage() } {
        Ok(ended) => assert!(!ended, "a storage ended under a live object"),
        Err(Error::CacheBusy { .. }) => REFUSED.add(1),
        Err(error) => panic!("{error}"),
    }
    task.audit();
    assert!(name.is_living());
    task.give(held);
    task.end(&name);
}

/// Looks at whatever is there.
fn looks(task: &Task) {
    for _ in 0..3 {
        for name in task.arena.names() {
            if let Some(pinned) = name.pin() {
                assert!(!pinned.info().name.is_empty(), "a pinned storage went");
                assert!(pinned.stats().slabs < 100, "a pinned storage was made anew");
            }
        }
        task.audit();
    }
}

/// Dropped once, after the end of what it goes with.
struct Once(Arc<Counter>);

impl Drop for Once {
    fn drop(&mut self) {
        self.0.add(1);
    }
}

/// A preallocated cache with an owner: its slabs are those of a hidden name, which goes with the last visible one.
fn stands_behind(task: &Task) {
    let (kept, owner) = (Arc::new(Counter::new()), Arc::new(Counter::new()));
    let args =
        CacheArgs { owner: Some(Arc::new(Once(owner.clone())) as Arc<dyn Any + Send + Sync>), ..CacheArgs::default() };
    let made = create_in_storage(task.arena, "preallocated", SIZE, &args, Box::new(Once(kept.clone())));
    let name = task.made(made);
    assert!(!name.is_primary(), "a name whose owner may go stands for a storage");
    task.give(task.take(&name));
    drop(args);
    task.end(&name);
    drop(name);
    assert_eq!((kept.get(), owner.get()), (1, 1), "what goes with a name went not, or twice");
}

fn one_schedule(arena: &'static Arena, works: [Work; 3]) {
    set_virtual_cpu(None);
    let works = works.into_iter().zip(0..).map(|(work, n)| shuttle::thread::spawn(move || work(&Task { arena, n })));
    let works: Vec<_> = works.collect();
    for work in works {
        work.join().expect("no panic");
    }
    set_virtual_cpu(None);
    arena.registry().audit_empty();
    assert_eq!(arena.info().used, 0, "slabs of a storage that ended are left");
}

/// An arena in which what is made once has been made: its locks are the system's.
fn warm() -> &'static Arena {
    let arena = arena();
    let name = CacheName::create(arena, "first", SIZE, &CacheArgs::default()).expect("a cache");
    // SAFETY: nobody has used it.
    unsafe { name.destroy() }.expect("nothing is in use");
    arena
}

/// The same schedules every time: what a planted bug does must not depend on luck.
fn explore(body: impl Fn(&'static Arena) + Copy + Send + Sync + 'static) {
    let arena = warm();
    let run = move || scheduled(|| body(arena));
    runner(RandomScheduler::new_from_seed(6, SCHEDULES)).run(run);
    runner(PctScheduler::new_from_seed(6, 3, SCHEDULES)).run(run);
}

fn explore_works(works: [Work; 3]) {
    explore(move |arena| one_schedule(arena, works));
}

#[test]
fn shuttle_names_come_and_go() {
    explore_works([comes_and_goes, comes_and_goes, comes_and_goes]);
    assert!(JOINED.get() > 0, "no name ever joined another's storage");
}

#[test]
fn shuttle_names_meet_ends_that_are_refused() {
    explore_works([is_refused, comes_and_goes, is_refused]);
    assert!(REFUSED.get() > 0, "no end was ever refused");
}

#[test]
fn shuttle_names_meet_looks() {
    explore_works([comes_and_goes, looks, comes_and_goes]);
}

#[test]
fn shuttle_names_meet_a_hidden_primary() {
    explore_works([comes_and_goes, stands_behind, is_refused]);
}

/// Two end the same name while a third joins it: one of the two has done it.
fn two_end_a_name(arena: &'static Arena) {
    let first = Task { arena, n: 3 };
    set_virtual_cpu(None);
    let name = first.make();
    let ends = |n: u32| {
        let name = name.clone();
        shuttle::thread::spawn(move || {
            set_virtual_cpu(Some(n % 2));
            // SAFETY: nobody uses a handle of it.
            let ended = unsafe { name.destroy() };
            arena.registry().audit();
            match ended {
                Ok(()) => 1,
                Err(Error::Destroyed { .. }) => 0,
                Err(error) => panic!("{error}"),
            }
        })
    };
    let (one, other) = (ends(0), ends(1));
    let third = shuttle::thread::spawn(move || comes_and_goes(&Task { arena, n: 2 }));
    let ended: u32 = one.join().expect("no panic") + other.join().expect("no panic");
    third.join().expect("no panic");
    assert_eq!(ended, 1, "a name was ended twice, or never");
    arena.registry().audit_empty();
}

#[test]
fn shuttle_names_end_once() {
    explore(two_end_a_name);
}

#[test]
#[should_panic(expected = "a name joined a storage that is being ended")]
fn shuttle_names_catch_a_join_of_the_dying() {
    Bug::JoinDying.plant(|| explore_works([comes_and_goes, comes_and_goes, comes_and_goes]));
}

#[test]
#[should_panic(expected = "a name outlived its end")]
fn shuttle_names_catch_half_an_end() {
    Bug::HalfEnd.plant(|| explore_works([comes_and_goes, comes_and_goes, comes_and_goes]));
}

#[test]
#[should_panic(expected = "a storage was ended twice")]
fn shuttle_names_catch_a_second_end() {
    Bug::EndsTwice.plant(|| explore(two_end_a_name));
}
