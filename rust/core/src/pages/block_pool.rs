//! Type-stable pools of blocks in the metadata arena: what a descriptor or a sheaf is made of.
//!
//! A block goes from user to user but never becomes anything else, so a thread that lost a race may still read its link. For
//! that its **first 8 bytes are the pool's for good**, also while the block is taken: an atomic link that nobody else writes.

use super::meta::{Meta, UNIT};
use crate::inject::{self, Point};
use crate::sync::{Form, Index, Link, Links, TaggedStack};

/// Bytes by which a pool grows at least.
const BATCH: usize = 16 << 10;

/// The links in the first 8 bytes of the blocks of a pool.
pub(crate) struct MetaLinks<'a>(pub &'a Meta);

impl<'a> MetaLinks<'a> {
    /// The link of a block, for as long as the metadata lives.
    #[inline]
    pub fn get(&self, index: Index) -> &'a Link {
        // SAFETY: an index on a stack or in a link is that of a block which a pool handed out or holds; its first 8 bytes
        // are a `Link` for as long as the arena lives, atomic and never anything else (see the module's text).
        unsafe { self.0.at(index).cast().as_ref() }
    }
}

impl Links for MetaLinks<'_> {
    #[inline]
    fn link(&self, index: Index) -> &Link {
        self.get(index)
    }
}

/// A pool of blocks of one size.
pub(crate) struct BlockPool {
    free: TaggedStack,
    form: Form,
    size: usize,
}

impl BlockPool {
    /// An empty pool of blocks of `size` bytes, a power of two from 64 to 8192, which they are aligned to.
    pub fn new(form: Form, size: usize) -> Self {
        debug_assert!(size.is_power_of_two() && (64..=8192).contains(&size));
        Self { free: TaggedStack::new(form), form, size }
    }

    /// Takes a block; its index. Behind the first 8 bytes it holds what its last user left, zeros if it is new.
    ///
    /// `None`: a fault refused, or the pool is empty and the arena gives no more.
    pub fn take(&self, meta: &Meta) -> Option<Index> {
        if !inject::request(Point::Metadata, self.size) {
            return None;
        }
        self.free.pop(self.form, &MetaLinks(meta)).or_else(|| self.grow(meta))
    }

    /// As [`BlockPool::take`], from what the pool has: it does not grow.
    pub fn take_pooled(&self, meta: &Meta) -> Option<Index> {
        inject::request(Point::Metadata, self.size).then(|| self.free.pop(self.form, &MetaLinks(meta))).flatten()
    }

    /// Puts a block back that the caller owns.
    pub fn put(&self, meta: &Meta, index: Index) {
        self.free.push(self.form, &MetaLinks(meta), index);
    }

    /// Takes the first block of a new batch for the caller and gives the others to all.
    fn grow(&self, meta: &Meta) -> Option<Index> {
        let count = (BATCH / self.size) as Index;
        let first = meta.index_of(meta.grow(BATCH, self.size)?);
        let step = (self.size / UNIT) as Index;
        let (second, last) = (first + step, first + (count - 1) * step);
        let links = MetaLinks(meta);
        for above in (second..last).step_by(step as usize) {
            TaggedStack::chain(&links, above, above + step);
        }
        self.free.push_chain(self.form, &links, second, last, count - 1);
        Some(first)
    }
}

#[cfg(all(test, not(loom)))]
#[path = "block_pool_tests.rs"]
mod tests;
