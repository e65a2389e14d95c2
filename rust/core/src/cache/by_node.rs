#![forbid(unsafe_code)]
//! Objects of the node that was asked for. Source: `alloc_from_pcs`, `___slab_alloc` (mm/slub.c).

use super::construct::Failed;
use super::options::{AllocFlags, Found, Level};
use super::slabs::{At, Pages};
use crate::pages::NodeId;
use crate::stats::Stat;
use core::ptr::{NonNull, null_mut};

impl At<'_> {
    /// One object straight from the slabs, uncounted, and how deep it lay. `asked` says that the caller named the node: then that
    /// node's memory comes first, new or not, and another's only where the caller does not insist (`THISNODE`).
    ///
    /// # Errors
    /// A constructor failed.
    pub(super) fn search_slabs(&self, node: NodeId, asked: bool, flags: AllocFlags) -> Result<Option<Found>, Failed> {
        let strict = flags.contains(AllocFlags::THISNODE);
        let mut found = null_mut();
        let mut partial = |from: NodeId| self.take_partial(from, 1, |object| found = object) > 0;
        let stays = asked || strict;
        let mut level = Level::Partial;
        if !partial(node) && (stays || !self.lenders(node).any(&mut partial)) {
            let pages = if stays { Pages::OfNode } else { Pages::Any };
            level = Level::NewSlab;
            let got = self.take_new_slab(node, pages, 1, |object| found = object)?;
            if got == 0 && !strict {
                // What the ratio and the limits leave alone is better than nothing.
                let lent = self.others(node).any(|from| self.take_partial(from, 1, |object| found = object) > 0);
                if lent {
                    level = Level::Partial;
                } else if stays {
                    self.take_new_slab(node, Pages::Any, 1, |object| found = object)?;
                }
            }
        }
        Ok(NonNull::new(found).map(|object| (object, level)))
    }

    /// An object of another node came out of a sheaf where one of `node` was asked for: it goes back, and the slabs are asked.
    /// `counted` says that it has been counted as a hit.
    ///
    /// # Errors
    /// A constructor failed.
    pub(super) fn exchange(
        &self,
        object: NonNull<u8>,
        node: NodeId,
        flags: AllocFlags,
        counted: bool,
    ) -> Result<Option<Found>, Failed> {
        self.bump(Stat::AllocNodeMismatch, 1);
        if !self.put_back(object.as_ptr()) {
            self.bump(Stat::SheafFlush, 1);
            self.free_to_slab(object.as_ptr());
        }
        let found = self.search_slabs(node, true, flags)?;
        match (counted, found.is_some()) {
            // As if it had been in the sheaf: the call has been counted.
            (true, true) => self.bump(Stat::SheafRefill, 1),
            (true, false) => self.bump(Stat::FreeFastpath, 1),
            (false, true) => self.bump(Stat::AllocSlowpath, 1),
            (false, false) => {}
        }
        Ok(found)
    }

    /// An object that the inlined path took, or where it is of the wrong node another.
    ///
    /// # Errors
    /// A constructor failed.
    pub(super) fn keep_or_exchange(&self, object: NonNull<u8>, flags: AllocFlags) -> Result<Option<Found>, Failed> {
        let strict = flags.contains(AllocFlags::THISNODE) && self.cache.arena.nodes > 1;
        if !strict || self.is_of(object.as_ptr(), self.home()) {
            return Ok(Some((object, Level::Sheaf)));
        }
        self.exchange(object, self.home(), flags, self.cache.counts_hits)
    }
}
