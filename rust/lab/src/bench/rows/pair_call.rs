//! The same pair with allocation and free each behind one call that is not inlined.
#![forbid(unsafe_code)]

use crate::bench::blocks::{Block, Blocks, Target, had};
use crate::bench::clock::timed;
use crate::bench::row::{Row, Work};

/// See the module.
pub struct PairCall;

/// Gives null back as malloc does: with a test in it the function would need a stack frame that no allocator's own has.
#[inline(never)]
fn alloc<B: Blocks>(blocks: &B) -> Option<Block<B>> {
    blocks.try_alloc()
}

#[inline(never)]
fn free<B: Blocks>(blocks: &B, block: Block<B>) {
    blocks.free(block);
}

impl Row for PairCall {
    const NAME: &'static str = "pair-call";
    const ABOUT: &'static str = "one 64 B pair in a loop, each half behind one call";

    fn work<T: Target>() -> Result<Work, String> {
        let blocks = T::b64()?;
        Ok(Box::new(move |ops| {
            timed(|| {
                for _ in 0..ops {
                    if <T::B64 as Blocks>::CALLED {
                        let block = blocks.alloc().opaque();
                        blocks.free(block);
                    } else {
                        let block = had(alloc(&blocks)).opaque();
                        free(&blocks, block);
                    }
                }
            })
        }))
    }
}
