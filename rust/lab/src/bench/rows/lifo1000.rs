//! 1000 blocks of 64 bytes, freed in the reverse order.
#![forbid(unsafe_code)]

use crate::bench::blocks::{Block, Blocks, Target};
use crate::bench::clock::timed;
use crate::bench::row::{BATCH, Row, Work};

/// See the module.
pub struct Lifo;

impl Row for Lifo {
    const NAME: &'static str = "lifo1000";
    const ABOUT: &'static str = "1000 x 64 B, the newest freed first";
    const STEP: u64 = BATCH as u64;

    fn work<T: Target>() -> Result<Work, String> {
        let blocks = T::b64()?;
        let mut live: Vec<Block<T::B64>> = Vec::with_capacity(BATCH);
        Ok(Box::new(move |ops| {
            timed(|| {
                for _ in 0..ops / Self::STEP {
                    fill(&blocks, &mut live);
                    live.drain(..).rev().for_each(|block| blocks.free(block));
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
