//! A program that allocates and frees around one level stays out of the barn, wherever that level lies between two sheaves.

mod support;

use haybarn::{CacheArgs, RawCache, Stat, set_virtual_cpu};
use support::*;

/// Bytes of an object: large ones have small sheaves.
const SIZE: usize = 4096;
const ROUNDS: usize = 50;

fn trips(cache: RawCache) -> u64 {
    let stats = cache.stats();
    stats.get(Stat::BarnGet) + stats.get(Stat::BarnPut)
}

/// Every level within the first sheaves, reached by allocations and by frees, and every height of the waves around it up to a
/// sheaf: after one wave that settles the slot, the others do without the barn, or nearly: two sheaves in and out at most.
#[test]
fn waves_below_a_sheaf_stay_out_of_the_barn() {
    let arena = virtual_arenas(1, 1)[0];
    set_virtual_cpu(Some(0));
    let capacity = create(arena, "asked", SIZE, &CacheArgs::default()).info().sheaf_capacity as usize;
    assert!((2..10).contains(&capacity), "{capacity}");
    for frees_first in [false, true] {
        for level in 0..10 * capacity {
            for height in 1..=capacity {
                let cache = create(arena, "to-and-fro", SIZE, &CacheArgs::default());
                let mut held = take_many(cache, 12 * capacity);
                give(cache, held.split_off(if frees_first { level + height } else { 0 }));
                held.extend(take_many(cache, level.saturating_sub(held.len())));
                give(cache, held.split_off(level));
                let before = trips(cache);
                for _ in 0..ROUNDS {
                    give(cache, take_many(cache, height));
                }
                let made = trips(cache) - before;
                assert!(made <= 4, "{made} sheaves through the barn at level {level}, waves of {height}");
                give(cache, held);
                end(cache);
            }
        }
    }
}
