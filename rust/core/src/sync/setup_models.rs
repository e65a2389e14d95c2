#![forbid(unsafe_code)]
//! Models of a storage's life under loom: first uses, an explicit setup, ends and last readers in every order. One of all makes
//! the cache, everyone sees it whole, and nobody sets the storage up while anybody reads what it was.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p haybarn --release --lib loom_setup`.

use super::*;
use crate::sync::Bug;
use loom::cell::Cell;
use loom::sync::{Arc, Mutex};
use loom::thread;

/// A storage, the lock of setups, and what a setup writes: memory that only its maker may write, which loom watches.
struct World {
    word: SetupWord,
    lock: Mutex<()>,
    /// What a handle leads to; 0 while there is none.
    handle: Published,
    cache: Cell<u32>,
    made: Cell<u32>,
    owned: Cell<u32>,
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            word: SetupWord::new(),
            lock: Mutex::new(()),
            handle: Published::new(0),
            cache: Cell::new(0),
            made: Cell::new(0),
            owned: Cell::new(0),
        })
    }

    fn set_up(&self) -> Result<u64, Refused<()>> {
        let make = || {
            self.made.set(self.made.get() + 1);
            self.cache.set(7);
            self.owned.set(self.owned.get() + 1);
            Ok(1)
        };
        self.word.set_up(|| self.lock.lock().ok(), make, |&made| self.handle.publish(made))
    }

    /// As a static cache that misses: looks, and sets up what nobody has.
    fn first_use(&self) -> u32 {
        if self.handle.read() == 0 {
            match self.set_up() {
                Ok(_) | Err(Refused::Phase(Phase::SetUp)) => {}
                Err(refused) => panic!("{refused:?}"),
            }
        }
        assert_eq!(self.handle.read(), 1, "a use found no cache after its setup");
        self.cache.get()
    }

    fn end(&self) -> Result<(), Refused<()>> {
        let unpublish = || self.handle.publish(0);
        self.word.end(|| self.lock.lock().ok(), || Ok(()), unpublish)
    }

    /// The last reader lets go: the owner first looks at what it owned.
    fn release(&self) {
        self.owned.set(self.owned.get() - 1);
        self.word.release();
    }
}

fn first_uses_meet_a_setup() {
    loom::model(|| {
        let world = World::new();
        let user = {
            let world = world.clone();
            thread::spawn(move || assert_eq!(world.first_use(), 7))
        };
        let explicit = {
            let world = world.clone();
            thread::spawn(move || match world.set_up() {
                Ok(_) => true,
                Err(Refused::Phase(Phase::SetUp)) => false,
                Err(refused) => panic!("{refused:?}"),
            })
        };
        assert_eq!(world.first_use(), 7);
        user.join().unwrap();
        let _by_setup = explicit.join().unwrap();
        assert_eq!(world.made.get(), 1, "the cache was made twice");
        assert_eq!(world.set_up(), Err(Refused::Phase(Phase::SetUp)));
    });
}

#[test]
fn loom_setup_first_uses_meet_a_setup() {
    first_uses_meet_a_setup();
}

#[test]
#[should_panic = "Causality violation"]
fn loom_setup_catches_one_look() {
    Bug::SetupOneLook.plant(first_uses_meet_a_setup);
}

/// Ended once, by one of two; set up again by whoever comes when the last reader has gone, and seen whole.
#[test]
fn loom_setup_again_after_the_last_reader() {
    loom::model(|| {
        let world = World::new();
        world.set_up().unwrap();
        world.end().unwrap();
        let reader = {
            let world = world.clone();
            thread::spawn(move || world.release())
        };
        match world.set_up() {
            Ok(_) => assert_eq!(world.owned.get(), 1, "the storage was set up while it was owned"),
            Err(refused) => {
                assert_eq!(refused, Refused::Phase(Phase::Read));
                reader.join().unwrap();
                world.set_up().unwrap();
            }
        }
    });
}

#[test]
fn loom_setup_ends_once() {
    loom::model(|| {
        let world = World::new();
        world.set_up().unwrap();
        let other = {
            let world = world.clone();
            thread::spawn(move || world.end().is_ok())
        };
        let here = world.end().is_ok();
        assert!(other.join().unwrap() != here, "a cache was ended twice, or never");
        assert_eq!(world.word.phase(), Phase::Read);
    });
}
