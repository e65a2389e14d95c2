#![forbid(unsafe_code)]
//! What the slab protocol and the graveyard need to know of a cache: a small trait, so that the models run their text over
//! ordinary memory.

use super::descriptor::{ObjRef, SlabState};
use super::node::NodeSlabs;
use crate::stats::Stat;
use crate::sync::{DoubleWord, Form, Index, Link, Links};

/// What the protocol needs to know of a cache's slabs.
pub(crate) trait Slabs: Links {
    /// What [`Slabs::release`] needs: copied out of the descriptor while it is still the slab's.
    type Run: Copy;

    fn form(&self) -> Form;
    fn word(&self, slab: Index) -> &DoubleWord<SlabState>;
    fn total(&self, slab: Index) -> u32;
    fn run(&self, slab: Index) -> Self::Run;
    fn node(&self, slab: Index) -> &NodeSlabs;
    /// Wholly free slabs that a node keeps.
    fn min_partial(&self) -> u64;
    /// Writes the free pointer of an object that the caller owns.
    fn set_next(&self, slab: Index, object: ObjRef, next: ObjRef);
    /// Reads the free pointer of an object that the caller owns.
    fn next(&self, slab: Index, object: ObjRef) -> ObjRef;
    /// Clears the run's page map and gives its pages back.
    fn release(&self, run: Self::Run);
    /// Returns a descriptor to its pool.
    fn recycle(&self, slab: Index);
    fn count(&self, stat: Stat, n: u64);
    /// Whether a dead slab goes to the graveyard before its pages go. A constant of the cache.
    fn defers(&self) -> bool;
    /// Whether one more slab may go there. Where not, a free keeps the wholly free slab: it is as good as any other.
    fn has_room_for_dead(&self, node: &NodeSlabs) -> bool;
    /// The link of a dead slab in the graveyard.
    fn grave_link(&self, slab: Index) -> &Link;
    /// What the pages of a slab that died just now have to wait for; `None` for nothing.
    fn wait_for(&self) -> Option<u64>;
    /// Whether that is over. Numbers that are larger are over later.
    fn is_over(&self, stamp: u64) -> bool;
    /// Writes the stamp of a dead slab that is the caller's.
    fn set_stamp(&self, slab: Index, stamp: u64);
    /// The stamp of a dead slab that is the caller's.
    fn stamp(&self, slab: Index) -> u64;
}
