//! 1000 blocks of 64 bytes, freed in random order.
#![forbid(unsafe_code)]

use crate::bench::blocks::{Block, Blocks, Target};
use crate::bench::clock::timed;
use crate::bench::random::Random;
use crate::bench::row::{BATCH, Row, Work};

/// See the module.
pub struct RandomOrder;

/// Orders that are gone through in turn, so that a free list does not come to repeat the one order.
const ORDERS: usize = 16;

impl Row for RandomOrder {
    const NAME: &'static str = "random1000";
    const ABOUT: &'static str = "1000 x 64 B, freed in random order";
    const STEP: u64 = BATCH as u64;

    fn work<T: Target>() -> Result<Work, String> {
        let blocks = T::b64()?;
        let mut random = Random::new(1000);
        let orders: Vec<Vec<u16>> = (0..ORDERS).map(|_| random.permutation(BATCH as u16)).collect();
        let mut next = 0;
        let mut live: Vec<Option<Block<T::B64>>> = Vec::new();
        live.resize_with(BATCH, || None);
        Ok(Box::new(move |ops| {
            timed(|| {
                for _ in 0..ops / Self::STEP {
                    for (n, slot) in live.iter_mut().enumerate() {
                        let block = blocks.alloc();
                        block.write(n as u64);
                        *slot = Some(block);
                    }
                    for &at in &orders[next] {
                        if let Some(block) = live[usize::from(at)].take() {
                            blocks.free(block);
                        }
                    }
                    next = (next + 1) % ORDERS;
                }
            })
        }))
    }
}
