//! Mixed sizes: 100,000 blocks of 16 to 1024 bytes live, one at random replaced in each step.
//!
//! haybarn serves this row from caches of Linux's kmalloc sizes, chosen by size: the same job as a malloc's size classes.
#![forbid(unsafe_code)]

use crate::bench::blocks::{Block, Sizes, Target};
use crate::bench::clock::timed;
use crate::bench::random::Random;
use crate::bench::row::{Row, Work};
use std::time::Duration;

/// See the module.
pub struct Mixed;

const LIVE: u32 = 100_000;

/// Live blocks with their sizes; all are freed at the end.
struct Live<S: Sizes> {
    sizes: S,
    random: Random,
    blocks: Vec<(Option<Block<S>>, usize)>,
}

impl<S: Sizes> Live<S> {
    fn new(sizes: S) -> Self {
        let mut live = Self { sizes, random: Random::new(16), blocks: Vec::new() };
        live.blocks = (0..LIVE).map(|_| live.replacement()).collect();
        live
    }

    #[inline(always)]
    fn replacement(&mut self) -> (Option<Block<S>>, usize) {
        let size = 16 + self.random.below(1024 - 16 + 1);
        let block = self.sizes.alloc(size);
        block.write(size as u64);
        (Some(block), size)
    }

    #[inline(always)]
    fn step(&mut self) {
        let at = self.random.below(LIVE);
        if let (Some(block), size) = (self.blocks[at].0.take(), self.blocks[at].1) {
            self.sizes.free(block, size);
        }
        self.blocks[at] = self.replacement();
    }
}

impl<S: Sizes> Drop for Live<S> {
    fn drop(&mut self) {
        for (block, size) in self.blocks.drain(..) {
            block.into_iter().for_each(|block| self.sizes.free(block, size));
        }
    }
}

impl Row for Mixed {
    const NAME: &'static str = "mixed";
    const ABOUT: &'static str = "16 to 1024 B, 100,000 live, random replacement";
    // Long rounds of several passes: each starts with what the other targets left in the processor's caches.
    const ROUND: Duration = Duration::from_millis(25);

    fn work<T: Target>() -> Result<Work, String> {
        let mut live = Live::new(T::mixed()?);
        // Away from the order of the first fill, which no program that has run for a while still has.
        (0..4 * LIVE).for_each(|_| live.step());
        Ok(Box::new(move |ops| timed(|| (0..ops).for_each(|_| live.step()))))
    }
}
