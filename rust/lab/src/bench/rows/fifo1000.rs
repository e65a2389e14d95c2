//! 1000 blocks of 64 bytes, freed in the order of their allocation.
#![forbid(unsafe_code)]

use crate::bench::blocks::{Block, Blocks, Target};
use crate::bench::clock::timed;
use crate::bench::row::{BATCH, Row, Work};

/// See the module.
pub struct Fifo;

impl Row for Fifo {
    const NAME: &'static str = "fifo1000";
    const ABOUT: &'static str = "1000 x 64 B, the oldest freed first";
    const STEP: u64 = BATCH as u64;

    fn work<T: Target>() -> Result<Work, String> {
        let blocks = T::b64()?;
        let mut live: Vec<Block<T::B64>> = Vec::with_capacity(BATCH);
        Ok(Box::new(move |ops| {
            timed(|| {
                for _ in 0..ops / Self::STEP {
                    fill(&blocks, &mut live);
                    live.drain(..).for_each(|block| blocks.free(block));
                }
            })
        }))
    }
}

#[inline(always)]
fn fill<B: Blocks>(blocks: &B, live: &mut Vec<Block<B>>) {
    live.extend((0..BATCH).map(|n| {
        let block = blocks.alloc();
        block.write(n as u64);
        block
    }));
}
