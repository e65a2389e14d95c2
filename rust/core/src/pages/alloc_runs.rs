//! Taking and giving back runs: the CPU's hint, the node's chunks, a fresh chunk, anything that is left.

#![forbid(unsafe_code)]

use super::chunk::{Chunk, Role};
use super::config::FreeError;
use super::field;
use super::ids::{ChunkIndex, NodeId, Order, PageIndex};
use super::store::Pages;

impl Pages {
    /// Takes a run of `order` (at most 9) for `node`, by a thread on `cpu`. Its bytes are whatever the last owner left.
    ///
    /// `None`: the page source refused, or the range is full. When the node's chunks and the fresh ones are used up,
    /// the run may be another node's.
    pub fn alloc_run(&self, order: Order, node: NodeId, cpu: u32) -> Option<PageIndex> {
        self.grant(order.pages() as usize)
            .then(|| self.take_of_node(order, node, cpu).or_else(|| self.take_anywhere(order, cpu)))?
    }

    /// As [`Pages::alloc_run`], but never another node's: `None` when the node's chunks and the fresh ones are used up.
    pub fn alloc_run_of_node(&self, order: Order, node: NodeId, cpu: u32) -> Option<PageIndex> {
        self.grant(order.pages() as usize).then(|| self.take_of_node(order, node, cpu))?
    }

    /// The node whose chunk the run at `page` was cut from; `None` for the pages of spans.
    pub fn node_of_run(&self, page: PageIndex) -> Option<NodeId> {
        self.chunk(page.chunk()).node()
    }

    fn take_of_node(&self, order: Order, node: NodeId, cpu: u32) -> Option<PageIndex> {
        debug_assert!(order <= Order::MAX);
        let (chunk, offset) = self
            .take_hinted(order, node, cpu)
            .or_else(|| self.take_listed(order, node, cpu))
            .or_else(|| self.take_fresh(order, node, cpu))?;
        mark_dirty(self.chunk(chunk), offset, order);
        Some(chunk.page(offset))
    }

    /// As [`Pages::alloc_run`], of pages that the arena has had from the system before: nothing is committed. Any node's.
    ///
    /// `None` also for orders above 6.
    pub fn alloc_touched_run(&self, order: Order, node: NodeId, strict: bool, cpu: u32) -> Option<PageIndex> {
        if order.0 > field::WORD_ORDER || !self.grant(order.pages() as usize) {
            return None;
        }
        let take = |chunk: ChunkIndex, node| {
            let offset = self.runs(chunk, node).take_marked(order, &self.chunk(chunk).dirty)?;
            Some(chunk.page(offset))
        };
        let hinted = self.finder.hinted(cpu, order).filter(|&chunk| self.chunk(chunk).node() == Some(node));
        hinted.and_then(|chunk| take(chunk, node)).or_else(|| {
            let others = (0..=self.finder.last_node()).map(NodeId).filter(|&other| other != node && !strict);
            core::iter::once(node).chain(others).find_map(|node| {
                self.finder.candidates(node, order, self.growth.taken()).find_map(|chunk| take(chunk, node))
            })
        })
    }

    /// Gives the run of `order` that starts at `page` back. Its map words are cleared already.
    ///
    /// # Errors
    /// `NoRun` where no such run can start, `DoubleFree` if a page of it is free.
    #[inline(always)]
    pub fn free_run(&self, page: PageIndex, order: Order) -> Result<(), FreeError> {
        let chunk = page.chunk();
        let fits = order <= Order::MAX && page.in_chunk().is_multiple_of(order.pages());
        let node = self.chunks.get(chunk.0 as usize).and_then(Chunk::node).filter(|_| fits);
        let runs = self.runs(chunk, node.ok_or(FreeError::NoRun)?);
        runs.give(page.in_chunk(), order).map_err(|_| FreeError::DoubleFree)
    }

    fn take_hinted(&self, order: Order, node: NodeId, cpu: u32) -> Option<(ChunkIndex, u32)> {
        let chunk = self.finder.hinted(cpu, order)?;
        if self.chunk(chunk).node() != Some(node) {
            return None;
        }
        Some((chunk, self.runs(chunk, node).take(order)?))
    }

    fn take_listed(&self, order: Order, node: NodeId, cpu: u32) -> Option<(ChunkIndex, u32)> {
        let (chunk, offset) = self
            .finder
            .candidates(node, order, self.growth.taken())
            .find_map(|chunk| Some((chunk, self.runs(chunk, node).take(order)?)))?;
        self.finder.remember(cpu, order, chunk);
        Some((chunk, offset))
    }

    fn take_fresh(&self, order: Order, node: NodeId, cpu: u32) -> Option<(ChunkIndex, u32)> {
        let chunk = self.growth.take(1).or_else(|| self.chunk_of_spans())?;
        self.bind(chunk, node);
        let runs = self.runs(chunk, node);
        // Before anybody can find the chunk: a trim by its role, a search by its summary. So this cannot fail.
        let offset = runs.take(order);
        self.chunk(chunk).set_role(Role::Runs(node));
        runs.raise();
        self.finder.remember(cpu, order, chunk);
        Some((chunk, offset?))
    }

    fn take_anywhere(&self, order: Order, cpu: u32) -> Option<PageIndex> {
        let (chunk, offset) =
            (0..=self.finder.last_node()).find_map(|node| self.take_listed(order, NodeId(node), cpu))?;
        mark_dirty(self.chunk(chunk), offset, order);
        Some(chunk.page(offset))
    }
}

fn mark_dirty(chunk: &Chunk, offset: u32, order: Order) {
    let first = (offset / field::WORD_PAGES) as usize;
    let words = 1 << order.0.saturating_sub(field::WORD_ORDER);
    let mask = field::mask(order.0.min(field::WORD_ORDER), offset % field::WORD_PAGES);
    for word in &chunk.dirty[first..first + words] {
        // Mostly they are: a run is used again far more often than trimmed.
        if word.peek() & mask != mask {
            word.mark(mask);
        }
    }
}

#[cfg(all(test, not(loom)))]
#[path = "alloc_runs_tests.rs"]
mod tests;
