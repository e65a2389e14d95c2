//! First uses against forks: a child finds a static cache whole or not there, and nobody waits for himself. A binary of its own,
//! for a handler of forks that stands before the library's.

mod support;

use haybarn::sync::{Counter, Published};
use haybarn::{CacheArgs, CacheStorage, Error, StaticCache};
use std::sync::Once;

static BEFORE: StaticCache<u64> = StaticCache::new("fork-before");
/// What the handlers' first uses said: 1 a cache, 2 that this thread has its turn, 3 anything else; by where.
static SAID: [Published; 3] = [const { Published::new(0) }; 3];

fn try_first_use(place: &Published) {
    place.publish(match BEFORE.alloc(1).map(drop) {
        Ok(()) => 1,
        Err(Error::Unavailable { .. }) => 2,
        Err(_) => 3,
    });
}

extern "C" fn prepare() {
    try_first_use(&SAID[0]);
}

extern "C" fn in_child() {
    try_first_use(&SAID[2]);
}

/// Handlers that were there before the library: they run while it holds its locks.
fn watch() {
    static ONCE: Once = Once::new();
    // SAFETY: both are functions for good.
    ONCE.call_once(|| assert_eq!(unsafe { libc::pthread_atfork(Some(prepare), None, Some(in_child)) }, 0));
}

/// Runs `child` in a forked child, which has 20 seconds; its exit code.
fn forked(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child uses the library and then ends; it neither panics nor prints.
    match unsafe { libc::fork() } {
        -1 => panic!("{}", std::io::Error::last_os_error()),
        0 => {
            // SAFETY: a child that waits for ever is ended by the alarm.
            unsafe { libc::alarm(20) };
            let code = child();
            // SAFETY: ends the process.
            unsafe { libc::_exit(code) }
        }
        pid => {
            let mut status = 0;
            // SAFETY: a child of ours.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            assert!(libc::WIFEXITED(status), "the child ended by signal {}: it hung", libc::WTERMSIG(status));
            libc::WEXITSTATUS(status)
        }
    }
}

#[test]
fn a_first_use_in_a_handler_of_a_fork_is_refused_and_waits_for_nobody() {
    watch();
    static AFTER: StaticCache<u64> = StaticCache::new("fork-after");
    drop(AFTER.alloc(1).unwrap());
    let code = forked(|| {
        let said: Vec<_> = SAID.iter().map(Published::read).collect();
        if said != [2, 0, 2] {
            return 2;
        }
        // Outside of the handlers it is a first use like any other, and a cache that was there works.
        i32::from(BEFORE.alloc(7).is_err() || AFTER.alloc(8).is_err())
    });
    assert_eq!((code, SAID[0].read()), (0, 2));
    assert!(BEFORE.alloc(1).is_ok(), "in the parent too");
}

static BUSY: StaticCache<[u64; 9]> = StaticCache::new("fork-busy");

/// Forks while threads use for the first time and end, over and over.
#[test]
fn a_child_finds_a_static_cache_whole_or_not_there() {
    watch();
    let (stop, rounds) = (Counter::new(), Counter::new());
    let (found, missing) = (Counter::new(), Counter::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while stop.get() == 0 {
                drop(BUSY.alloc([1; 9]).unwrap());
                rounds.add(1);
                // SAFETY: this thread alone uses it in this process.
                unsafe { BUSY.destroy() }.unwrap();
            }
        });
        for _ in 0..60 {
            while rounds.get() < 3 {
                std::thread::yield_now();
            }
            rounds.set(0);
            let code = forked(|| {
                let was = BUSY.is_set_up();
                // The parent's thread may have been in the middle of the end: then the cache is what it was for good.
                match BUSY.alloc([2; 9]) {
                    Ok(object) => i32::from(object[8] != 2) * 3 + if was { 10 } else { 20 },
                    Err(
                        Error::AlreadySetUp { .. }
                        | Error::StorageInUse { .. }
                        | Error::BadArgument { argument: "name", .. },
                    ) => 30,
                    Err(_) => 4,
                }
            });
            match code {
                10 => found.add(1),
                20 => missing.add(1),
                30 => {}
                code => panic!("the child says {code}"),
            }
        }
        stop.add(1);
    });
    assert!(found.get() + missing.get() > 0, "every fork came in the middle of an end");
}

/// A thread's own turn: an owner that is let go of inside nothing may set up what it likes.
#[test]
fn a_setup_from_the_end_of_an_owner() {
    struct SetsUp;
    impl Drop for SetsUp {
        fn drop(&mut self) {
            drop(NEXT.alloc(1).unwrap());
        }
    }
    static NEXT: StaticCache<u64> = StaticCache::new("owner-next");
    static HELD: CacheStorage = CacheStorage::new();
    let args = CacheArgs { owner: Some(std::sync::Arc::new(SetsUp)), ..CacheArgs::default() };
    drop(HELD.setup(haybarn::Arena::global().unwrap(), "owner-held", 64, &args).unwrap());
    drop(args);
    assert!(!NEXT.is_set_up());
    // SAFETY: nobody uses it.
    unsafe { HELD.destroy() }.unwrap();
    assert!(NEXT.is_set_up());
}
