//! How the pages are used, counted when asked: nothing is counted while they are taken and given back.

#![forbid(unsafe_code)]

use super::chunk::Role;
use super::ids::CHUNK_PAGES;
use super::store::Pages;

/// Sums over the arena; exact when nobody takes or gives back pages, else off by those on their way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct PageCounts {
    /// Pages of runs in use.
    pub run_pages: u64,
    /// Pages of spans in use.
    pub span_pages: u64,
    /// Free pages that the system has not got back: what a trim would give.
    pub dirty_free_pages: u64,
    /// Chunks ever used.
    pub chunks: u32,
    /// Chunks of the reserved range.
    pub reserved_chunks: u32,
    /// Requests that the page source refused.
    pub refused: u64,
    /// Bytes of metadata handed out.
    pub meta_bytes: u64,
}

impl Pages {
    /// Counts; reads the record of every used chunk.
    pub fn counts(&self) -> PageCounts {
        let mut counts = PageCounts {
            chunks: self.growth.taken(),
            reserved_chunks: self.growth.limit(),
            refused: self.refused() + self.meta().refused(),
            meta_bytes: self.meta().used() as u64,
            ..PageCounts::default()
        };
        for (_, chunk, role) in self.used_chunks() {
            match role {
                Role::Unused => {}
                Role::Runs(_) => {
                    for (taken, dirty) in chunk.taken.iter().zip(&chunk.dirty) {
                        let taken = taken.peek();
                        counts.run_pages += u64::from(taken.count_ones());
                        counts.dirty_free_pages += u64::from((dirty.peek() & !taken).count_ones());
                    }
                }
                Role::Span { chunks, live: true, .. } => counts.span_pages += u64::from(chunks * CHUNK_PAGES),
                Role::Span { chunks, dirty: true, .. } => counts.dirty_free_pages += u64::from(chunks * CHUNK_PAGES),
                Role::Span { .. } => {}
            }
        }
        counts
    }
}

#[cfg(all(test, not(loom)))]
#[path = "counts_tests.rs"]
mod tests;
