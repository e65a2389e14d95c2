//! Whole pages that are freed by their address alone: what is too large for a size class. Source: `___kmalloc_large_node`,
//! `free_large_kmalloc` (mm/slub.c), and for what is larger still `vmalloc`.
#![forbid(unsafe_code)]

use super::arena::Arena;
use crate::pages::{MapWord, NodeId, Order, PAGE_SIZE, PageIndex, PageKind};
use core::ptr::NonNull;

/// In the page map where a cache's id would be, which is less: these pages are ours, and their number is where a slab's record
/// would be.
const LARGE: u16 = u16::MAX;
/// Added to the number: the span begins one chunk earlier, and this page was chosen for its alignment.
const SHIFTED: u32 = 1 << 31;
/// Pages of a chunk, which spans are made of and aligned to.
const CHUNK: u32 = 1 << Order::MAX.0;

/// Bytes of the large pages that start at the page with that word; `None` if none do.
pub(super) fn size(word: MapWord) -> Option<usize> {
    let large = word.cache() == LARGE && matches!(word.kind(), PageKind::Run | PageKind::Span);
    large.then(|| (word.descriptor() & !SHIFTED) as usize * PAGE_SIZE)
}

impl Arena {
    /// Takes 2^`order` pages (order at most 10) aligned to their size, of this CPU's node if it has any; `None` when memory is
    /// out. Contents as the last user left them.
    pub(crate) fn alloc_large(&self, order: u8) -> Option<NonNull<u8>> {
        let pages = 1 << order;
        if order <= Order::MAX.0 {
            let cpu = self.current_cpu();
            let page = self.pages.alloc_run(Order(order), self.node_of(cpu as i32), cpu)?;
            return self.hand_out(page, PageKind::Run, order, pages);
        }
        // Spans are aligned to chunks only: with one chunk more, an aligned place is in it. That chunk is never touched.
        debug_assert_eq!(pages, 2 * CHUNK);
        let head = self.pages.alloc_span((pages + CHUNK) as usize * PAGE_SIZE)?;
        let aligned = self.pages.address(head).addr().is_multiple_of(pages as usize * PAGE_SIZE);
        let (first, mark) = if aligned { (head, 0) } else { (PageIndex(head.0 + CHUNK), SHIFTED) };
        self.hand_out(first, PageKind::Span, order, pages | mark)
    }

    /// Takes whole pages for `bytes` (more than 0), aligned to 2 MiB; `None` when memory is out.
    pub(crate) fn alloc_huge(&self, bytes: usize) -> Option<NonNull<u8>> {
        let pages = u32::try_from(bytes.div_ceil(PAGE_SIZE)).ok().filter(|&pages| pages < SHIFTED)?;
        let head = self.pages.alloc_span(bytes)?;
        self.hand_out(head, PageKind::Span, 0, pages)
    }

    fn hand_out(&self, page: PageIndex, kind: PageKind, order: u8, pages: u32) -> Option<NonNull<u8>> {
        // The first page's word is enough: pages are given back by their first address only.
        self.pages.set_map(page, 1, MapWord::new(kind, Order(order), NodeId(0), LARGE, pages));
        NonNull::new(self.pages.address(page))
    }

    /// Gives back pages that nobody uses any more; false if they were free already, as far as that can be seen.
    pub(crate) fn free_large(&self, page: PageIndex) -> bool {
        let word = self.pages.map(page);
        if size(word).is_none() {
            return false;
        }
        self.pages.clear_map(page, 1);
        let given = match word.kind() {
            PageKind::Run => self.pages.free_run(page, word.order()),
            _ if word.descriptor() & SHIFTED == 0 => self.pages.free_span(page),
            _ => self.pages.free_span(PageIndex(page.0 - CHUNK)),
        };
        given.is_ok()
    }
}
