//! Names for pages, chunks, orders and nodes.

#![forbid(unsafe_code)]

use core::fmt;

/// Bytes of a page. Fixed, whatever the system's page size: offsets in slabs are counted from it.
pub(crate) const PAGE_SIZE: usize = 4096;
/// Pages of a chunk, 2 MiB.
pub(crate) const CHUNK_PAGES: u32 = 512;
/// Bytes of a chunk.
pub(crate) const CHUNK_SIZE: usize = PAGE_SIZE * CHUNK_PAGES as usize;

/// A page of the arena, counted from its base.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PageIndex(pub u32);

impl PageIndex {
    /// The chunk that the page is in.
    #[inline]
    pub const fn chunk(self) -> ChunkIndex {
        ChunkIndex(self.0 / CHUNK_PAGES)
    }

    /// Pages between the chunk's first one and this one.
    #[inline]
    pub const fn in_chunk(self) -> u32 {
        self.0 % CHUNK_PAGES
    }
}

/// A chunk of the arena, counted from its base.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChunkIndex(pub u32);

impl ChunkIndex {
    /// The page `offset` pages into the chunk.
    #[inline]
    pub const fn page(self, offset: u32) -> PageIndex {
        PageIndex(self.0 * CHUNK_PAGES + offset)
    }
}

/// log2 of a run's pages; a run is aligned to its size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Order(pub u8);

impl Order {
    /// A whole chunk. Anything larger is a span.
    pub const MAX: Self = Self(9);

    /// Pages of a run.
    #[inline]
    pub const fn pages(self) -> u32 {
        1 << self.0
    }
}

/// A memory node (NUMA), or a node of the `virtual` backend.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct NodeId(pub u8);

impl fmt::Debug for PageIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {}", self.0)
    }
}

impl fmt::Debug for ChunkIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chunk {}", self.0)
    }
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "order {}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.0)
    }
}
