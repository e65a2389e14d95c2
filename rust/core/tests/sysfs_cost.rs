//! What polling the statistics of many caches costs, counted: requests for memory, and what it leaves untouched. How long it takes
//! is benches/python_stats.py's.

mod support;

use haybarn::sync::Counter;
use haybarn::{CacheArgs, CacheName, SlabFlags, Stat, sysfs};
use std::alloc::{GlobalAlloc, Layout, System};
use support::*;

/// Counts this process's requests for memory.
struct Counting;

static REQUESTS: Counter = Counter::new();

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        REQUESTS.add(1);
        // SAFETY: the caller's word.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's word.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CACHES: u64 = 500;

#[test]
fn a_poll_of_many_caches_makes_few_requests_and_touches_no_sheaf() {
    for arena in every_arena() {
        let own = CacheArgs { flags: SlabFlags::NO_MERGE, ..CacheArgs::default() };
        let make = |n: u64, args: &CacheArgs| CacheName::create(arena, &format!("cache-{n}"), 64, args).unwrap();
        let names: Vec<_> = (0..CACHES).map(|n| make(n, &own)).collect();
        for name in &names {
            // SAFETY: the names live until the end.
            let cache = unsafe { name.raw() };
            give(cache, take_many(cache, 100));
        }
        let poll = || {
            let before = REQUESTS.get();
            let stats = sysfs::stats(arena);
            (REQUESTS.get() - before, stats)
        };
        let (requests, first) = poll();
        // One list of counters for each storage, by CPU, and one of nodes; the names themselves are shared.
        assert!(requests <= 3 * CACHES + 10, "{requests} requests for {CACHES} caches");
        // However much they hold, and however often somebody asked before.
        for name in &names[..10] {
            // SAFETY: as above.
            let cache = unsafe { name.raw() };
            std::mem::forget(take_many(cache, 10_000));
        }
        let (again, second) = poll();
        assert_eq!(again, requests);
        for ((name, before), (_, after)) in first.iter().zip(&second) {
            let what = [Stat::Drain, Stat::SheafFlush, Stat::ShrinkSlab, Stat::BarnPut];
            assert!(what.iter().all(|&stat| before.get(stat) == after.get(stat)), "{name:?}");
        }
        assert_eq!((first.len(), second.len()), (CACHES as usize, CACHES as usize));
        // A storage is read once, and for its other names what was read is copied.
        let aliases: Vec<_> = (0..CACHES).map(|n| make(CACHES + n, &CacheArgs::default())).collect();
        let (with_aliases, third) = poll();
        assert_eq!(third.len(), 2 * CACHES as usize);
        assert!(with_aliases <= 2 * requests + 10, "{with_aliases} requests, {requests} before there were aliases");
        assert!(aliases.iter().skip(1).all(|name| !name.is_primary()));
    }
}
