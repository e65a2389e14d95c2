#![forbid(unsafe_code)]
//! How to allocate, and how deep an allocation went.

use bitflags::bitflags;
use core::ptr::NonNull;

bitflags! {
    /// How to allocate: those of GFP's options that mean something outside a kernel.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct AllocFlags: u32 {
        /// The object's bytes are zero.
        const ZERO = 1;
        /// Do not hand memory back to the system in order to get some. Nothing on these paths blocks in any case.
        const NOWAIT = 2;
        /// Take memory of the node that was asked for (the CPU's, where none was), or fail.
        const THISNODE = 4;
        /// Count the allocation in the cache's `accounted` counter.
        const ACCOUNT = 8;
    }
}

/// The deepest level that an allocation touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The CPU's own sheaves.
    Sheaf,
    /// The node's barn.
    Barn,
    /// Partial slabs.
    Partial,
    /// A new slab.
    NewSlab,
}

/// An object, and how deep it lay.
pub(super) type Found = (NonNull<u8>, Level);
