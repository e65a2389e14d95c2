//! For tests of `free_rcu`.

use haybarn::{CacheArgs, RawCache, SlabFlags, service};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Grace periods are the process's: a test that needs a reader to hold one up, or none to, is alone.
static ALONE: Mutex<()> = Mutex::new(());

/// Without the service, which would change counters while they are read.
pub fn alone() -> MutexGuard<'static, ()> {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    service::stop();
    alone
}

pub fn free_rcu(cache: RawCache, objects: impl IntoIterator<Item = NonNull<u8>>) {
    for object in objects {
        // SAFETY: the tests of this file own what they pass, and use it no more.
        unsafe { cache.free_rcu(object) }.unwrap();
    }
}

pub fn args(capacity: u32, count_hits: bool, sheaves: bool) -> CacheArgs {
    let flags = if sheaves { SlabFlags::empty() } else { SlabFlags::NOLEAKTRACE };
    CacheArgs { sheaf_capacity: capacity, count_hits, flags, ..CacheArgs::default() }
}

/// Caches of every kind: plain and counting, with sheaves small and large, and without.
pub fn kinds() -> [(usize, CacheArgs); 5] {
    [
        (64, args(0, false, true)),
        (64, args(0, true, true)),
        (300, args(3, true, true)),
        (4096, args(0, false, true)),
        (64, args(0, false, false)),
    ]
}
