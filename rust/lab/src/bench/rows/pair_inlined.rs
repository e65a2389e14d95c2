//! One 64-byte block allocated and freed in a loop, inlined as far as the allocator lets itself be.
#![forbid(unsafe_code)]

use crate::bench::blocks::{Blocks, Target};
use crate::bench::clock::timed;
use crate::bench::row::{Row, Work};

/// See the module.
pub struct PairInlined;

impl Row for PairInlined {
    const NAME: &'static str = "pair-inlined";
    const ABOUT: &'static str = "one 64 B pair in a loop, inlined where the allocator allows it";

    fn work<T: Target>() -> Result<Work, String> {
        let blocks = T::b64()?;
        Ok(Box::new(move |ops| {
            timed(|| {
                for _ in 0..ops {
                    let block = blocks.alloc().opaque();
                    blocks.free(block);
                }
            })
        }))
    }
}
