//! The counters against what was done: exact once threads are joined, and what they call free can be taken.

mod support;

use haybarn::{CacheArgs, Stat, set_virtual_cpu};
use std::ptr::NonNull;
use support::*;

/// Exact after the threads are joined, on every backend; on `rseq` with counted hits, since a counting sequence commits
/// the hit and the cursor by one store (docs/design.md, "Counting").
#[test]
fn counters_are_exact_after_threads_are_joined() {
    for arena in every_arena() {
        for count_hits in [false, true] {
            let cache =
                create(arena, "joined", 64, &CacheArgs { count_hits, sheaf_capacity: 10, ..CacheArgs::default() });
            let totals: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4_u32)
                    .map(|thread| {
                        scope.spawn(move || {
                            let (mut held, mut allocated) = (Vec::new(), 0);
                            for n in 0..10_000_u32 {
                                set_virtual_cpu(Some(n / 100 + thread));
                                held.push(cache.alloc_counted(PLAIN).unwrap());
                                allocated += 1;
                                if n % 7 == 0 {
                                    for object in held.drain(..held.len() / 2) {
                                        // SAFETY: ours.
                                        unsafe { cache.free_counted(object) };
                                    }
                                }
                                if n % 1000 == thread {
                                    allocated += 100;
                                    give_bulk(cache, &take_bulk(cache, 100).unwrap());
                                }
                            }
                            let addresses: Vec<_> =
                                held.iter().map(|object| object.expose_provenance().get()).collect();
                            (allocated, addresses)
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let live: Vec<_> = totals
                .iter()
                .flat_map(|(_, held)| held)
                .map(|&address| NonNull::new(std::ptr::with_exposed_provenance_mut(address)).unwrap())
                .collect();
            audit(cache, live.len());
            if cache.info().counts_hits {
                let stats = cache.stats();
                let allocated: u64 = totals.iter().map(|&(allocated, _)| allocated).sum();
                let counted = stats.get(Stat::AllocFastpath) + stats.get(Stat::AllocSlowpath);
                assert_eq!(counted, allocated, "{}: every allocation is counted once", arena.backend());
            }
            give(cache, live);
            end(cache);
        }
    }
}

/// What can still be allocated when memory is out is what the identities say is free.
#[test]
fn free_objects_are_those_that_can_be_taken() {
    for (arena, switch) in every_failing_arena() {
        for (size, capacity) in [(64, 0), (300, 5), (4096, 0), (64, 1020)] {
            let args = CacheArgs { sheaf_capacity: capacity, ..CacheArgs::default() };
            let cache = create(arena, "exhausted", size, &args);
            let mut held = Vec::new();
            for round in 1..6 {
                set_virtual_cpu(Some(round));
                held.extend(take_many(cache, 200 * round as usize));
                let some: Vec<_> = held.iter().copied().step_by(round as usize + 1).collect();
                held.retain(|object| !some.contains(object));
                give(cache, some);
                exhaust(cache, &switch, held.len());
            }
            give(cache, held);
            end(cache);
        }
    }
}
