//! Taking and giving back spans.

#![forbid(unsafe_code)]

use super::chunk::Role;
use super::config::FreeError;
use super::ids::{CHUNK_PAGES, CHUNK_SIZE, ChunkIndex, PageIndex};
use super::span::rounded;
use super::store::Pages;

impl Pages {
    /// Takes a span of at least `bytes` (more than 0); its first page. Its bytes are whatever the last owner left.
    ///
    /// `None`: the page source refused, or no span so long is left in the range.
    pub fn alloc_span(&self, bytes: usize) -> Option<PageIndex> {
        let wanted = u32::try_from(bytes.div_ceil(CHUNK_SIZE)).ok().filter(|&chunks| chunks <= self.growth.limit())?;
        let chunks = rounded(wanted.max(1));
        if !self.grant(chunks as usize * CHUNK_PAGES as usize) {
            return None;
        }
        let fresh = || self.growth.take(chunks).map(|head| (head, chunks));
        let (head, chunks) = self.take_cached(chunks).or_else(fresh).or_else(|| self.split_larger(chunks))?;
        self.chunk(head).set_role(Role::Span { chunks, live: true, dirty: true });
        Some(head.page(0))
    }

    /// Gives the span that starts at `page` back. Its map words are cleared already.
    ///
    /// # Errors
    /// `NoSpan` where none starts, `DoubleFree` if it is free.
    pub fn free_span(&self, page: PageIndex) -> Result<(), FreeError> {
        let head = page.chunk();
        let record = self.chunks.get(head.0 as usize).filter(|_| page.in_chunk() == 0).ok_or(FreeError::NoSpan)?;
        match record.role() {
            live @ Role::Span { chunks, live: true, .. } => {
                if !record.change_role(live, Role::Span { chunks, live: false, dirty: true }) {
                    return Err(FreeError::DoubleFree);
                }
                self.spans.push(&self.chunks, head, chunks);
                Ok(())
            }
            Role::Span { live: false, .. } => Err(FreeError::DoubleFree),
            Role::Unused | Role::Runs(_) => Err(FreeError::NoSpan),
        }
    }

    /// A chunk for runs where the range has no fresh one: one of a free span.
    pub(super) fn chunk_of_spans(&self) -> Option<ChunkIndex> {
        let (head, _) = self.take_cached(1).or_else(|| self.split_larger(1))?;
        if self.free_span_at(head).1 {
            self.chunk(head).dirty.iter().for_each(|word| word.mark(!0));
        }
        Some(head)
    }

    fn take_cached(&self, chunks: u32) -> Option<(ChunkIndex, u32)> {
        let head = self.spans.pop(&self.chunks, chunks)?;
        Some((head, self.free_span_at(head).0))
    }

    fn split_larger(&self, chunks: u32) -> Option<(ChunkIndex, u32)> {
        let head = self.spans.pop_larger(&self.chunks, chunks)?;
        let (whole, dirty) = self.free_span_at(head);
        let rest = ChunkIndex(head.0 + chunks);
        if whole > chunks {
            self.chunk(rest).set_role(Role::Span { chunks: whole - chunks, live: false, dirty });
            self.spans.push(&self.chunks, rest, whole - chunks);
        }
        Some((head, chunks))
    }

    /// Chunks of the free span that the caller holds, and whether it is dirty.
    pub(super) fn free_span_at(&self, head: ChunkIndex) -> (u32, bool) {
        match self.chunk(head).role() {
            Role::Span { chunks, dirty, .. } => (chunks, dirty),
            Role::Unused | Role::Runs(_) => unreachable!("only heads of spans are in the store"),
        }
    }
}

#[cfg(all(test, not(loom)))]
#[path = "alloc_spans_tests.rs"]
mod tests;
