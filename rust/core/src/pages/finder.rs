//! Where to look for a run first: per-CPU hints, then the node's summary, lowest chunk first.

#![forbid(unsafe_code)]

use super::area::Area;
use super::ids::{ChunkIndex, NodeId, Order};
use super::runs::{CHUNKS_PER_WORD, SUMMARY_BITS, summary_mask};
use crate::sync::{Published, SummaryWord};
use std::io;

/// The chunks in which a CPU found its last run of order 0 and of orders 1 to 3; 0 is none, `i` is chunk `i - 1`.
/// Published, not a mere hint: what the chunk's maker wrote into its record must be seen by who comes this way.
#[repr(C, align(64))]
pub(super) struct CpuHints {
    single: Published,
    small: Published,
}

/// The hints of every CPU and the summaries of every node.
pub(super) struct Finder {
    hints: Area<CpuHints>,
    summaries: Area<SummaryWord>,
    words_per_node: usize,
    nodes: usize,
}

impl Finder {
    pub fn new(cpus: u32, nodes: u32, chunks: u32) -> io::Result<Self> {
        let words_per_node = chunks.div_ceil(CHUNKS_PER_WORD) as usize;
        let nodes = nodes.max(1) as usize;
        let hints = Area::new(cpus.max(1) as usize)?;
        Ok(Self { hints, summaries: Area::new(words_per_node * nodes)?, words_per_node, nodes })
    }

    /// The highest node that has a summary.
    pub fn last_node(&self) -> u8 {
        (self.nodes - 1) as u8
    }

    /// The chunk that the CPU's hint for `order` names.
    pub fn hinted(&self, cpu: u32, order: Order) -> Option<ChunkIndex> {
        let hint = self.hint(cpu, order)?.read();
        hint.checked_sub(1).map(|chunk| ChunkIndex(chunk as u32))
    }

    /// Remembers where the CPU found a run of `order`.
    pub fn remember(&self, cpu: u32, order: Order, chunk: ChunkIndex) {
        if let Some(hint) = self.hint(cpu, order) {
            hint.publish(u64::from(chunk.0) + 1);
        }
    }

    /// The chunks of `node` below number `end` that may have a run of `order`, lowest first, so that high ones empty out.
    pub fn candidates(&self, node: NodeId, order: Order, end: u32) -> impl Iterator<Item = ChunkIndex> {
        let words = self.of_node(node)[..end.div_ceil(CHUNKS_PER_WORD) as usize].iter();
        words.enumerate().flat_map(move |(index, word)| {
            let mut bits = word.peek() & summary_mask(order);
            core::iter::from_fn(move || {
                let at = (bits != 0).then(|| bits.trailing_zeros())?;
                bits &= bits - 1;
                Some(ChunkIndex(index as u32 * CHUNKS_PER_WORD + at / SUMMARY_BITS))
            })
        })
    }

    /// The summary word that `chunk` has on `node`.
    #[inline]
    pub fn summary(&self, node: NodeId, chunk: ChunkIndex) -> &SummaryWord {
        &self.of_node(node)[(chunk.0 / CHUNKS_PER_WORD) as usize]
    }

    fn of_node(&self, node: NodeId) -> &[SummaryWord] {
        let first = usize::from(node.0) % self.nodes * self.words_per_node;
        &self.summaries[first..first + self.words_per_node]
    }

    fn hint(&self, cpu: u32, order: Order) -> Option<&Published> {
        let hints = &self.hints[cpu as usize % self.hints.len()];
        match order.0 {
            0 => Some(&hints.single),
            1..=3 => Some(&hints.small),
            _ => None,
        }
    }
}
