//! What the tests of injected failures share.
#![allow(dead_code, reason = "each test binary is a crate of its own and uses a part of this")]

#[path = "../support/mod.rs"]
pub mod support;

use haybarn::fault::{FaultAttr, FaultGuard, fail_slab};
use haybarn::{CacheArgs, RawCache};
use std::sync::{Mutex, MutexGuard, PoisonError};
use support::*;

static TURN: Mutex<()> = Mutex::new(());

/// The tests of a file take turns: faults are the process's.
pub fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every request.
pub fn all() -> FaultAttr {
    FaultAttr::default()
}

/// Some.
pub fn often(probability: f64) -> FaultAttr {
    FaultAttr { probability, ..all() }
}

/// A fault about one cache.
pub fn objects(cache: RawCache, attr: FaultAttr) -> FaultGuard {
    fail_slab(Some(cache), attr).unwrap()
}

/// Which of `n` allocations fail.
pub fn failing(cache: RawCache, n: usize) -> Vec<usize> {
    (0..n).filter(|_| cache.alloc(PLAIN).map(|object| give(cache, [object])).is_none()).collect()
}

/// A cache on each arena, counting its hits and not.
pub fn every_cache(size: usize) -> Vec<RawCache> {
    let make = |arena, name, count_hits| create(arena, name, size, &CacheArgs { count_hits, ..CacheArgs::default() });
    every_arena().into_iter().flat_map(|arena| [make(arena, "plain", false), make(arena, "counting", true)]).collect()
}
