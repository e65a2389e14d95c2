//! What several nodes cost: an allocation and a free, and a run of them, with one node and with fake ones.
//!
//! `cargo run --release -p haybarn --example nodes_cost`: nanoseconds for a pair, the best of many rounds.

use haybarn::{AllocFlags, Arena, ArenaConfig, BackendKind, CacheArgs, Error, RawCache};
use std::hint::black_box;
use std::ptr::NonNull;
use std::time::Instant;

const PAIRS: u32 = 100_000;
const RUN: u32 = 1000;

fn pair(cache: RawCache) -> NonNull<u8> {
    let object = cache.alloc(AllocFlags::empty()).expect("memory");
    // SAFETY: ours.
    unsafe { cache.free(black_box(object)) };
    object
}

fn best(rounds: u32, mut round: impl FnMut() -> u32) -> f64 {
    let once = |_| {
        let begun = Instant::now();
        let pairs = round();
        begun.elapsed().as_nanos() as f64 / f64::from(pairs)
    };
    (0..rounds).map(once).fold(f64::INFINITY, f64::min)
}

fn main() -> Result<(), Error> {
    for backend in [BackendKind::Rseq, BackendKind::Locked] {
        for nodes in [1, 2, 4] {
            let config = ArenaConfig { backend: Some(backend), nodes, ..ArenaConfig::default() };
            let Ok(arena) = Arena::create(config) else { continue };
            let cache = RawCache::create(arena, "cost", 64, &CacheArgs::default())?;
            let pairs = best(200, || {
                (0..PAIRS).for_each(|_| _ = black_box(pair(cache)));
                PAIRS
            });
            let mut held = Vec::with_capacity(RUN as usize);
            let lifo = best(2000, || {
                held.extend((0..RUN).map(|_| cache.alloc(AllocFlags::empty()).expect("memory")));
                // SAFETY: ours.
                held.drain(..).rev().for_each(|object| unsafe { cache.free(object) });
                RUN
            });
            println!("{backend}, {nodes} node(s): a pair {pairs:.2} ns, {RUN} and back {lifo:.2} ns each");
        }
    }
    Ok(())
}
