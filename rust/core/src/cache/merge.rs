#![forbid(unsafe_code)]
//! Which storage a new name may share. Pure arithmetic; no arena, no state.
//!
//! Source: `find_mergeable`, `slab_unmergeable` (mm/slab_common.c).

use crate::slab::flags::SlabFlags;
use crate::slab::geometry::Geometry;

const WORD: usize = size_of::<u64>();

/// What a name asks for, as far as sharing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Bytes of an object.
    pub object_size: usize,
    /// Effective alignment in bytes, a power of two.
    pub align: usize,
    pub flags: SlabFlags,
    /// What no flag shows keeps it apart: a constructor, a usercopy region, a sheaf capacity of its own, ...
    pub apart: bool,
}

/// A storage that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Its stride in bytes.
    pub slab_size: usize,
    pub flags: SlabFlags,
    /// As in [`Wanted`]; also one that is going, or that a fault is about.
    pub apart: bool,
}

impl Wanted {
    pub fn new(geometry: &Geometry, flags: SlabFlags, apart: bool) -> Self {
        Self { object_size: geometry.object_size, align: geometry.align, flags, apart }
    }

    /// Whether no storage will do but one of its own.
    pub fn is_unmergeable(&self) -> bool {
        self.apart || self.flags.intersects(SlabFlags::NEVER_MERGE)
    }

    /// Whether it may share that storage: no word larger than it needs, at least as well aligned, and of the same kind.
    pub fn fits(&self, standing: &Standing) -> bool {
        let needed = self.object_size.next_multiple_of(WORD).next_multiple_of(self.align);
        let unmergeable = |flags: SlabFlags, apart| apart || flags.intersects(SlabFlags::NEVER_MERGE);
        let differ = (self.flags ^ standing.flags).intersects(SlabFlags::MERGE_SAME);
        !self.is_unmergeable()
            && !unmergeable(standing.flags, standing.apart)
            && !differ
            && needed <= standing.slab_size
            && standing.slab_size - needed < WORD
            && standing.slab_size.is_multiple_of(self.align)
    }
}

/// What Linux calls a storage without a name of its own: its kind by letters, and its stride (`create_unique_id`).
pub(super) fn unique_id(slab_size: usize, flags: SlabFlags) -> String {
    let letters: String = [
        (SlabFlags::CACHE_DMA, 'd'),
        (SlabFlags::CACHE_DMA32, 'D'),
        (SlabFlags::RECLAIM_ACCOUNT, 'a'),
        (SlabFlags::CONSISTENCY_CHECKS, 'F'),
        (SlabFlags::ACCOUNT, 'A'),
    ]
    .into_iter()
    .filter_map(|(flag, letter)| flags.contains(flag).then_some(letter))
    .collect();
    let dash = if letters.is_empty() { "" } else { "-" };
    format!(":{letters}{dash}{slab_size:07}")
}

#[cfg(all(test, not(shuttle)))]
#[path = "merge_linux_tests.rs"]
mod linux_tests;
#[cfg(all(test, not(shuttle)))]
#[path = "merge_tests.rs"]
mod tests;
