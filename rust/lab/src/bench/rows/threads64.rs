//! 64 threads, all alive, with 100 blocks of 16 to 496 bytes each (1.6 MiB), in a process of its own: time, and resident memory.
//!
//! haybarn serves this row from the caches of the row of mixed sizes.
#![forbid(unsafe_code)]

use crate::bench::blocks::{Block, Sizes, Target};
use crate::bench::clock::nanoseconds;
use crate::bench::machine::{resident_bytes, unpin};
use crate::bench::random::Random;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Instant;

/// The row's name; its second line in the results is the memory.
pub const NAME: &str = "threads64";
/// The name of the memory's lines.
pub const MEMORY: &str = "threads64-resident";
/// One line for the list of rows.
pub const ABOUT: &str =
    "64 threads alive, 100 x 16 to 496 B each: wall time per pair; resident MiB over the process's base";

const THREADS: u64 = 64;
const LIVE: u32 = 100;
const SMALLEST: usize = 16;
const LARGEST: u32 = 496;

/// What one process measured.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Wall nanoseconds per pair: the wall time of all threads' pairs over their number.
    pub nanoseconds: f64,
    /// MiB resident above the base with all blocks live and all threads alive; the threads' own stacks are in it.
    pub resident: f64,
}

/// Runs the row in this process, which should be fresh: the base is what is resident before the first thread starts.
///
/// # Errors
/// Where the target is not to be had, or resident memory cannot be read.
pub fn run<T: Target>(pairs_per_thread: u64) -> Result<Outcome, String> {
    unpin();
    let blocks = T::mixed()?;
    let base = resident_bytes()?;
    // The threads' steps: filled and churned | memory read, clock started | done | time read, may end.
    let barrier = Arc::new(Barrier::new(THREADS as usize + 1));
    let threads: Vec<_> = (0..THREADS)
        .map(|seed| {
            let (blocks, barrier) = (blocks.clone(), Arc::clone(&barrier));
            thread::Builder::new()
                .stack_size(256 << 10)
                .spawn(move || thread_life(&blocks, &barrier, seed, pairs_per_thread))
        })
        .collect::<Result<_, _>>()
        .map_err(|e| format!("{NAME}: thread: {e}"))?;
    barrier.wait();
    let peak = resident_bytes();
    let start = Instant::now();
    barrier.wait();
    barrier.wait();
    let wall = nanoseconds(start.elapsed());
    barrier.wait();
    for thread in threads {
        thread.join().map_err(|_| format!("{NAME}: a thread panicked"))?;
    }
    Ok(Outcome {
        nanoseconds: wall as f64 / (THREADS * pairs_per_thread.max(1)) as f64,
        resident: peak?.saturating_sub(base) as f64 / f64::from(1 << 20),
    })
}

fn thread_life<B: Sizes>(blocks: &B, barrier: &Barrier, seed: u64, pairs: u64) {
    let mut random = Random::new(seed + 1);
    let mut live: Vec<(Option<Block<B>>, usize)> = Vec::new();
    live.resize_with(LIVE as usize, || (None, 0));
    live.iter_mut().for_each(|slot| *slot = written(blocks, &mut random));
    (0..u64::from(LIVE) * 20).for_each(|_| replace(blocks, &mut live, &mut random));
    barrier.wait();
    barrier.wait();
    (0..pairs).for_each(|_| replace(blocks, &mut live, &mut random));
    barrier.wait();
    barrier.wait();
    for (block, size) in live {
        block.into_iter().for_each(|block| blocks.free(block, size));
    }
}

#[inline(always)]
fn replace<B: Sizes>(blocks: &B, live: &mut [(Option<Block<B>>, usize)], random: &mut Random) {
    let (slot, size) = &mut live[random.below(LIVE)];
    slot.take().into_iter().for_each(|block| blocks.free(block, *size));
    (*slot, *size) = written(blocks, random);
}

/// A new block, written to.
#[inline(always)]
fn written<B: Sizes>(blocks: &B, random: &mut Random) -> (Option<Block<B>>, usize) {
    let size = SMALLEST + random.below(LARGEST - SMALLEST as u32 + 1);
    let block = blocks.alloc(size);
    block.write(size as u64);
    (Some(block), size)
}
