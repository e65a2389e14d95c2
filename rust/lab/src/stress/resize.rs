//! Another size for memory that a thread of the scenario `kmalloc` holds, and what must be in it then.

use super::block::{Block, LARGEST_RUN};
use super::kmalloc::Hand;
use crate::oracle::Kind;
use crate::oracle::subject::Counter::{Moved, Stayed, ZeroSize};

impl Hand<'_, '_> {
    pub(super) fn resize_some(&mut self) {
        for _ in 0..self.worker.rng.between(1, 10) {
            let Some(block) = self.pick() else { break };
            // What is larger than a run cannot be had by resizing.
            let size = if self.worker.rng.one_in(16) { 0 } else { self.size(LARGEST_RUN) };
            self.resize(block, size);
            if !self.worker.clean() {
                break;
            }
        }
    }

    fn resize(&mut self, block: Block, size: usize) {
        let (zero, says_len) = (self.worker.rng.one_in(3), self.worker.rng.one_in(2));
        // Given back or not, it is not ours while the call may free it.
        let (address, by) = (block.memory.as_ptr() as usize, block.by);
        self.part(&Block { by: self.worker.index, ..block });
        self.worker.count(1);
        let len = says_len.then_some(block.size);
        // SAFETY: the block is the only handle; what comes back takes its place.
        let found = unsafe { self.heap.resize(block.memory.as_ptr(), len, size, zero) };
        let Some(memory) = found else {
            // The old is as it was.
            if size <= block.usable {
                self.wrong(
                    Kind::Refused,
                    address,
                    format!("{size} of {} bytes, in place", block.usable),
                    "none".into(),
                );
            } else {
                self.refused(size);
            }
            if self.worker.claims.claim(address, block.usable).is_err() {
                self.wrong(Kind::HandedOutTwice, address, "memory that stays ours".into(), "not".into());
            }
            self.contents(&block, block.memory, block.size);
            return self.live.push(block);
        };
        if size == 0 {
            return self.tally(ZeroSize);
        }
        let (stays, kept) = (memory == block.memory, block.size.min(size));
        if stays != (size <= block.usable) {
            let expected = format!("{size} bytes in {} to stay where they are", block.usable);
            self.wrong(Kind::OffTheGrid, address, expected, format!("stays: {stays}"));
            return;
        }
        self.tally(if stays { Stayed } else { Moved });
        let held = if stays {
            let claimed = self.worker.claims.claim(address, block.usable);
            if claimed.is_err() {
                self.wrong(Kind::HandedOutTwice, address, "memory that stays ours".into(), "not".into());
            }
            Some(Block { size, by, ..block })
        } else {
            self.hold(memory, size, false)
        };
        let Some(mut held) = held else { return };
        self.contents(&block, memory, kept);
        // What the rules promise to be zero. With a length, what is new always is; without, if it was behind the old one.
        let shrinks = size <= block.size;
        if zero && (says_len || block.clean || shrinks) {
            let wholly = !stays || block.clean || shrinks;
            let window = Block { usable: if wholly { held.usable } else { size }, ..held };
            self.zeroes(&window, kept);
            held.clean = wholly;
        } else {
            held.clean = zero && block.clean;
        }
        self.keep(held);
    }
}
