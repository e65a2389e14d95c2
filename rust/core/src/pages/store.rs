//! The pages of one arena: its ranges, and the way between addresses and pages.

#![forbid(unsafe_code)]

use super::area::Area;
use super::chunk::{Chunk, Role};
use super::config::{DEFAULT_RESERVE, PagesConfig, PagesError, RESERVE_FLOOR, RESERVE_MAX};
use super::finder::Finder;
use super::growth::Growth;
use super::ids::{CHUNK_PAGES, CHUNK_SIZE, ChunkIndex, NodeId, PAGE_SIZE, PageIndex};
use super::map::{MapWord, PageMap};
use super::meta::Meta;
use super::runs::Runs;
use super::source::Source;
use super::span::SpanStore;
use crate::inject::{self, Point};
use crate::os::mem::{Mapping, reserve_halving};
use crate::sync::Counter;
use std::io;

/// All memory of one arena. Every method may be called by any thread at any time, never waits, and is lock-free.
///
/// Its ranges are unmapped when it is dropped and not before; an arena never drops it.
pub(crate) struct Pages {
    pub(super) range: Mapping,
    pub(super) chunks: Area<Chunk>,
    pub(super) growth: Growth,
    pub(super) finder: Finder,
    pub(super) spans: SpanStore,
    map: PageMap,
    meta: Meta,
    source: Source,
    refused: Counter,
    /// 1 while chunks of runs are bound to their nodes.
    binds: Counter,
    unbound: Counter,
}

impl Pages {
    /// Reserves the ranges. Nothing is committed yet.
    ///
    /// # Errors
    /// `BadArgument` for a reserve above 4 TiB or a number of nodes outside 1 to 256; `Reserve` where the system refuses
    /// even 64 MiB (or the wish, if that is smaller), or what must go with it.
    pub fn new(config: &PagesConfig) -> Result<Self, PagesError> {
        let PagesConfig { ref source, reserve, form, cpus, nodes } = *config;
        if reserve > RESERVE_MAX {
            return Err(PagesError::BadArgument { what: "reserve", value: reserve, legal: "at most 4 TiB" });
        }
        if !(1..=256).contains(&nodes) {
            return Err(PagesError::BadArgument { what: "nodes", value: nodes as usize, legal: "1 to 256" });
        }
        let wish = if reserve == 0 { DEFAULT_RESERVE } else { reserve };
        let range = reserve_halving(wish, RESERVE_FLOOR.min(wish), |len| source.pages().reserve(len))
            .map_err(|why| PagesError::Reserve { what: "user pages", size: wish, why })?;
        let count = (range.len() / CHUNK_SIZE) as u32;
        let table = |what| move |why: io::Error| PagesError::Reserve { what, size: range_size(count), why };
        Ok(Self {
            chunks: Area::new(count as usize).map_err(table("the chunk table"))?,
            growth: Growth::new(count),
            finder: Finder::new(cpus, nodes, count).map_err(table("the summaries"))?,
            spans: SpanStore::new(form).map_err(table("the span classes"))?,
            map: PageMap::new(count * CHUNK_PAGES).map_err(table("the page map"))?,
            meta: Meta::new(source.clone(), range.len() / 4).map_err(table("the metadata"))?,
            source: source.clone(),
            refused: Counter::new(),
            binds: Counter::new(),
            unbound: Counter::new(),
            range,
        })
    }

    /// The page that `address` is in; `None` for an address that is not the arena's.
    #[inline]
    pub fn page_of(&self, address: usize) -> Option<PageIndex> {
        let offset = address.wrapping_sub(self.range.base().addr().get());
        (offset < self.range.len()).then_some(PageIndex((offset / PAGE_SIZE) as u32))
    }

    /// The first byte of `page`.
    #[inline]
    pub fn address(&self, page: PageIndex) -> *mut u8 {
        self.range.base().as_ptr().wrapping_add(page.0 as usize * PAGE_SIZE)
    }

    /// First address and bytes of the range that user pages are in.
    pub fn range(&self) -> (usize, usize) {
        (self.range.base().addr().get(), self.range.len())
    }

    /// What `page` is part of, and all that was written before that was published.
    #[inline]
    pub fn map(&self, page: PageIndex) -> MapWord {
        self.map.get(page)
    }

    /// Publishes `word` for `count` pages from `first` on. The caller owns them.
    #[inline(always)]
    pub fn set_map(&self, first: PageIndex, count: u32, word: MapWord) {
        self.map.set(first, count, word);
    }

    /// Makes `count` pages from `first` on part of nothing. The caller owns them, and does this before it frees them.
    #[inline(always)]
    pub fn clear_map(&self, first: PageIndex, count: u32) {
        self.map.set(first, count, MapWord::NONE);
    }

    /// Pages of the chunks that were ever used: all that lies behind them was never touched.
    pub fn used_pages(&self) -> u32 {
        self.growth.taken() * CHUNK_PAGES
    }

    /// The metadata arena.
    #[inline]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The page source's name.
    pub fn source_name(&self) -> &'static str {
        self.source.name()
    }

    /// Requests for runs and spans that the page source refused.
    pub(super) fn refused(&self) -> u64 {
        self.refused.get()
    }

    /// From now on the system is asked for each new chunk's pages to be of its node. Tried with the last chunk of the range.
    ///
    /// # Errors
    /// The system refuses; nothing has changed.
    pub fn bind_to_nodes(&self) -> io::Result<()> {
        self.range.prefer_node(self.range.len() - CHUNK_SIZE, CHUNK_SIZE, 0)?;
        self.binds.set(1);
        Ok(())
    }

    /// Chunks that the system would not bind, and whose pages come from where they are first touched.
    pub fn unbound_chunks(&self) -> u64 {
        self.unbound.get()
    }

    /// A chunk becomes a node's. The caller owns it.
    pub(super) fn bind(&self, chunk: ChunkIndex, node: NodeId) {
        let at = chunk.0 as usize * CHUNK_SIZE;
        if self.binds.get() != 0 && self.range.prefer_node(at, CHUNK_SIZE, node.0).is_err() {
            self.unbound.add(1);
        }
    }

    pub(super) fn grant(&self, pages: usize) -> bool {
        let granted = inject::request(Point::Pages, pages * PAGE_SIZE) && self.source.pages().grant(pages);
        if !granted {
            self.refused.add(1);
        }
        granted
    }

    pub(super) fn chunk(&self, chunk: ChunkIndex) -> &Chunk {
        &self.chunks[chunk.0 as usize]
    }

    pub(super) fn runs(&self, chunk: ChunkIndex, node: NodeId) -> Runs<'_> {
        Runs::new(&self.chunk(chunk).taken, self.finder.summary(node, chunk), chunk.0)
    }

    /// Every chunk that was ever used, with its role.
    pub(super) fn used_chunks(&self) -> impl Iterator<Item = (ChunkIndex, &Chunk, Role)> {
        let used = &self.chunks[..self.growth.taken() as usize];
        used.iter().enumerate().map(|(index, chunk)| (ChunkIndex(index as u32), chunk, chunk.role()))
    }
}

fn range_size(chunks: u32) -> usize {
    chunks as usize * CHUNK_SIZE
}
