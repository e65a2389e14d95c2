//! Spans: runs of whole chunks, for what is larger than one.
//!
//! Free spans wait in one tagged stack per class. A class is a number of chunks with four significant bits, so a span wastes
//! at most an eighth, of addresses only: chunks that are not touched cost no memory. Spans are never joined. When the
//! range has no fresh chunk left, larger ones are split.

#![forbid(unsafe_code)]

use super::area::Area;
use super::chunk::Chunk;
use super::ids::ChunkIndex;
use crate::sync::{Form, Index, Link, Links, TaggedStack};
use std::io;

/// Classes below this many chunks are exact.
const EXACT: u32 = 8;
/// Classes below 2^22 chunks, twice the largest range.
const CLASSES: usize = 8 * 20;

/// The free spans of one class.
#[repr(transparent)]
pub(super) struct Class(TaggedStack);

/// Links between heads of free spans; entry `i` is chunk `i - 1`.
struct HeadLinks<'a>(&'a [Chunk]);

impl Links for HeadLinks<'_> {
    fn link(&self, index: Index) -> &Link {
        &self.0[index as usize - 1].link
    }
}

/// How many chunks a span for `chunks` has: rounded up to its class.
pub(super) const fn rounded(chunks: u32) -> u32 {
    if chunks < EXACT {
        return chunks;
    }
    let step = 1 << (chunks.ilog2() - 3);
    chunks.next_multiple_of(step)
}

/// The class of a span of exactly `chunks`; spans that a split left over go to the class below their size.
const fn class(chunks: u32) -> usize {
    if chunks < EXACT {
        return chunks as usize;
    }
    let doublings = chunks.ilog2() - 3;
    (EXACT * (doublings + 1) + (chunks >> doublings) - EXACT) as usize
}

/// The store of free spans. The heads' sizes are in their chunks' roles.
pub(super) struct SpanStore {
    classes: Area<Class>,
    form: Form,
}

impl SpanStore {
    pub fn new(form: Form) -> io::Result<Self> {
        Ok(Self { classes: Area::new(CLASSES)?, form })
    }

    /// Takes a free span of the class of `chunks` (a rounded number), at least so many chunks long.
    pub fn pop(&self, table: &[Chunk], chunks: u32) -> Option<ChunkIndex> {
        self.pop_class(table, class(chunks))
    }

    /// Takes a free span of any class above that of `chunks`, the smallest there is.
    pub fn pop_larger(&self, table: &[Chunk], chunks: u32) -> Option<ChunkIndex> {
        (class(chunks) + 1..CLASSES).find_map(|class| self.pop_class(table, class))
    }

    /// Gives a span of exactly `chunks` back to its class. The caller has set its head's role.
    pub fn push(&self, table: &[Chunk], head: ChunkIndex, chunks: u32) {
        self.classes[class(chunks)].0.push(self.form, &HeadLinks(table), head.0 + 1);
    }

    /// Takes the free span of class `class` that was given back last.
    pub fn pop_class(&self, table: &[Chunk], class: usize) -> Option<ChunkIndex> {
        self.classes[class].0.pop(self.form, &HeadLinks(table)).map(|index| ChunkIndex(index - 1))
    }

    /// Takes all free spans of a class, passes each to `visit`, and gives them back in the order they had.
    pub fn visit_class(&self, table: &[Chunk], class: usize, mut visit: impl FnMut(ChunkIndex)) {
        let (links, stack) = (HeadLinks(table), &self.classes[class].0);
        let mut chain: Option<(Index, Index, u32)> = None;
        // Bounded: others may give spans back as fast as this takes them.
        for _ in 0..stack.len(self.form) {
            let Some(index) = stack.pop(self.form, &links) else { break };
            visit(ChunkIndex(index - 1));
            chain = match chain {
                None => Some((index, index, 1)),
                Some((first, last, count)) => {
                    TaggedStack::chain(&links, last, index);
                    Some((first, index, count + 1))
                }
            };
        }
        if let Some((first, last, count)) = chain {
            stack.push_chain(self.form, &links, first, last, count);
        }
    }

    /// All classes.
    pub fn classes() -> core::ops::Range<usize> {
        0..CLASSES
    }
}

#[cfg(test)]
#[path = "span_tests.rs"]
mod tests;
