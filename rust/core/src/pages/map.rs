//! The page map: one word per page, so that a bare pointer finds its slab and cache in one load.

#![forbid(unsafe_code)]

use super::area::Area;
use super::ids::{NodeId, Order, PageIndex};
use crate::sync::Published;
use std::io;

/// What a page is part of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub(crate) enum PageKind {
    /// Nothing that was ever handed out, or no longer.
    #[default]
    None = 0,
    /// A slab; the word's descriptor and cache say which.
    Slab = 1,
    /// A run of pages, handed out whole.
    Run = 2,
    /// A span of chunks, handed out whole.
    Span = 3,
}

/// The word of one page. All zeros is "none".
///
/// Bits: 0 to 31 descriptor, 32 to 47 cache, 48 to 50 kind, 51 to 55 order, 56 to 63 node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct MapWord(u64);

impl MapWord {
    /// A page of nothing.
    pub const NONE: Self = Self(0);

    /// Packs the word.
    pub const fn new(kind: PageKind, order: Order, node: NodeId, cache: u16, descriptor: u32) -> Self {
        debug_assert!(order.0 < 32);
        let high = (kind as u64) | (order.0 as u64) << 3 | (node.0 as u64) << 8;
        Self(high << 48 | (cache as u64) << 32 | descriptor as u64)
    }

    /// Index of the slab's descriptor in the metadata arena.
    #[inline]
    pub const fn descriptor(self) -> u32 {
        self.0 as u32
    }

    /// Id of the cache or size class.
    #[inline]
    pub const fn cache(self) -> u16 {
        (self.0 >> 32) as u16
    }

    /// What the page is part of.
    #[inline]
    pub const fn kind(self) -> PageKind {
        match self.0 >> 48 & 7 {
            1 => PageKind::Slab,
            2 => PageKind::Run,
            3 => PageKind::Span,
            _ => PageKind::None,
        }
    }

    /// Order of the run that the page is part of.
    #[inline]
    pub const fn order(self) -> Order {
        Order((self.0 >> 51 & 31) as u8)
    }

    /// Node that the run was taken for.
    #[inline]
    pub const fn node(self) -> NodeId {
        NodeId((self.0 >> 56) as u8)
    }
}

/// One word per page of the arena.
pub(super) struct PageMap {
    words: Area<Published>,
}

impl PageMap {
    pub fn new(pages: u32) -> io::Result<Self> {
        Ok(Self { words: Area::new(pages as usize)? })
    }

    #[inline]
    pub fn get(&self, page: PageIndex) -> MapWord {
        MapWord(self.words[page.0 as usize].read())
    }

    #[inline(always)]
    pub fn set(&self, first: PageIndex, count: u32, word: MapWord) {
        let first = first.0 as usize;
        for page in &self.words[first..first + count as usize] {
            page.publish(word.0);
        }
    }
}

#[cfg(test)]
#[path = "map_tests.rs"]
mod tests;
