//! Giving memory back to the system: free dirty pages only, taken in the bitmap first, so that nobody meets a page on its
//! way out.
//!
//! Whole free chunks go first, which splits no huge page; then spans; then the single pages that are left. Allocation goes
//! on meanwhile, from other pages.

use super::chunk::{Chunk, Role, WORDS};
use super::field::WORD_PAGES;
use super::ids::{CHUNK_SIZE, ChunkIndex, NodeId, Order, PAGE_SIZE};
use super::span::SpanStore;
use super::store::Pages;

impl Pages {
    /// Gives all free dirty memory back to the system; how many bytes. What the system refuses stays dirty and free.
    #[unsafe(link_section = "haybarn_shrink")]
    pub fn trim(&self) -> usize {
        let whole: usize = self.trim_chunks(|chunk, node| self.trim_whole(chunk, node));
        let spans: usize = SpanStore::classes().map(|class| self.trim_class(class)).sum();
        whole + spans + self.trim_chunks(|chunk, node| self.trim_scattered(chunk, node))
    }

    #[unsafe(link_section = "haybarn_shrink")]
    fn trim_chunks(&self, trim: impl Fn(ChunkIndex, NodeId) -> usize) -> usize {
        self.used_chunks()
            .filter(|(_, chunk, _)| chunk.any_dirty())
            .map(|(index, _, role)| if let Role::Runs(node) = role { trim(index, node) } else { 0 })
            .sum()
    }

    #[unsafe(link_section = "haybarn_shrink")]
    fn trim_whole(&self, chunk: ChunkIndex, node: NodeId) -> usize {
        let runs = self.runs(chunk, node);
        if !runs.is_empty() || runs.take(Order::MAX).is_none() {
            return 0;
        }
        let freed = self.decommit(chunk, 0, CHUNK_SIZE);
        if freed > 0 {
            unmark(self.chunk(chunk), &[!0; WORDS]);
        }
        runs.give_scattered(&[!0; WORDS]);
        freed
    }

    #[unsafe(link_section = "haybarn_shrink")]
    fn trim_scattered(&self, chunk: ChunkIndex, node: NodeId) -> usize {
        let (record, runs) = (self.chunk(chunk), self.runs(chunk, node));
        let taken: [u64; WORDS] = core::array::from_fn(|word| runs.take_scattered(word, record.dirty[word].peek()));
        let mut freed = 0;
        for (first, count) in stretches(&taken) {
            let bytes = self.decommit(chunk, first as usize * PAGE_SIZE, count as usize * PAGE_SIZE);
            if bytes > 0 {
                unmark(record, &stretch_masks(first, count));
            }
            freed += bytes;
        }
        if taken != [0; WORDS] {
            runs.give_scattered(&taken);
        }
        freed
    }

    #[unsafe(link_section = "haybarn_shrink")]
    fn trim_class(&self, class: usize) -> usize {
        let mut freed = 0;
        self.spans.visit_class(&self.chunks, class, |head| {
            let (chunks, dirty) = self.free_span_at(head);
            let bytes = if dirty { self.decommit(head, 0, chunks as usize * CHUNK_SIZE) } else { 0 };
            if bytes > 0 {
                self.chunk(head).set_role(Role::Span { chunks, live: false, dirty: false });
            }
            freed += bytes;
        });
        freed
    }

    /// Hands back `len` bytes from `offset` in `chunk` on, which the caller has taken; 0 where the system refuses.
    #[unsafe(link_section = "haybarn_shrink")]
    fn decommit(&self, chunk: ChunkIndex, offset: usize, len: usize) -> usize {
        // SAFETY: private to this file, whose three callers each own these pages (bits taken, span off its stack) and are
        // given memory that its last owner is done with, so nobody uses the bytes until the caller gives them back.
        match unsafe { self.range.decommit(chunk.0 as usize * CHUNK_SIZE + offset, len) } {
            Ok(()) => len,
            Err(_) => 0,
        }
    }
}

fn unmark(chunk: &Chunk, masks: &[u64; WORDS]) {
    for (word, &mask) in chunk.dirty.iter().zip(masks) {
        word.unmark(mask);
    }
}

/// The stretches of set bits as (first page, pages), over word boundaries: one system call each.
fn stretches(masks: &[u64; WORDS]) -> impl Iterator<Item = (u32, u32)> {
    let is_set = |page: u32| masks[(page / WORD_PAGES) as usize] >> (page % WORD_PAGES) & 1 == 1;
    let end = WORDS as u32 * WORD_PAGES;
    let mut page = 0;
    core::iter::from_fn(move || {
        let first = (page..end).find(|&page| is_set(page))?;
        page = (first..end).find(|&page| !is_set(page)).unwrap_or(end);
        Some((first, page - first))
    })
}

fn stretch_masks(first: u32, count: u32) -> [u64; WORDS] {
    let mut masks = [0; WORDS];
    for page in first..first + count {
        masks[(page / WORD_PAGES) as usize] |= 1 << (page % WORD_PAGES);
    }
    masks
}

#[cfg(all(test, not(loom)))]
#[path = "trim_tests.rs"]
mod tests;
