//! A CPU's slot: one cache line that says which sheaves the CPU works with.
//!
//! A *cursor* is the address of a sheaf's topmost object pointer. Sheaves are power-of-two blocks aligned to their size with
//! the object pointers at the end, so a cursor tells which sheaf and how full at once, and one 8-byte store changes both:
//! alloc reads the word under the cursor (null below the first object: empty), free looks whether the next word is the start
//! of another block (full).
#![forbid(unsafe_code)]

use crate::sync::TryFlag;

/// A CPU number. -1 and -2 are what the kernel writes for "not registered" and "registration failed".
pub(crate) type Cpu = i32;

/// Slots in front of CPU 0's, for the two negative CPU numbers. They always miss.
pub(crate) const NEGATIVE_SLOTS: usize = 2;

/// Largest sheaf block in bytes: capacity 1020 and four words of header.
pub(crate) const MAX_BLOCK: usize = 8192;

#[repr(C, align(8192))]
struct StopBlock([u64; MAX_BLOCK / 8]);
static STOP_BLOCK: StopBlock = StopBlock([0; MAX_BLOCK / 8]);

/// The cursor that misses both ways: alloc reads null under it, and the word above it is a block's start for every size.
pub(crate) const fn stop() -> *mut u64 {
    (&raw const STOP_BLOCK).cast::<u64>().wrapping_add(MAX_BLOCK / 8 - 1).cast_mut()
}

/// What `rcu_free` holds while the CPU has no such sheaf: the word above it is the start of a block of every size, so a push
/// misses; unlike the stop it may be replaced.
pub(crate) const fn no_sheaf() -> *mut u64 {
    core::ptr::without_provenance_mut(usize::MAX - 7)
}

/// Main and spare cursor, which change together. A null spare means that there is none; main is never null.
///
/// Not over-aligned, so that it passes in two registers; where it lies in a slot it is aligned to 16 bytes all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Pair {
    pub main: *mut u64,
    pub spare: *mut u64,
}

impl Pair {
    /// Both words stopped: a drain is under way, or the slot is not for this kind of sequence.
    pub const fn stopped() -> Self {
        Self { main: stop(), spare: stop() }
    }

    pub fn is_stopped(self) -> bool {
        self.main == stop() || self.spare == stop()
    }
}

/// One CPU's line of one cache. Three kinds of access share it, each with words of its own, so that a cache of one kind
/// makes the others miss by their stopped words and no path has to ask which kind it is:
/// plain restartable sequences use `plain`, counting ones `hits` and `held`, the backends with a flag `flag` and `held`.
#[repr(C, align(64))]
pub(crate) struct Slot {
    /// Block size less one; 0 where every free must take the slow path (machines with several nodes).
    pub mask: u64,
    /// Who works on the slot (`locked`, `virtual`), or who drains it (`rseq`): a fork generation.
    pub flag: TryFlag,
    /// The pair of the plain sequences.
    pub plain: Pair,
    /// Cursor of the sheaf that `free_rcu` fills, by sequences of both kinds and under the flag; [`no_sheaf`] while there is
    /// none, the stop under a drain and in caches without sheaves.
    pub rcu_free: *mut u64,
    /// Fast hits of the counting sequences: allocations in the low half, frees in the high half.
    pub hits: u64,
    /// The pair of the counting sequences and of the backends with a flag.
    pub held: Pair,
}

/// Byte offsets for the sequences' text.
pub(crate) mod offset {
    use super::Slot;
    use core::mem::offset_of;
    pub const MASK: usize = offset_of!(Slot, mask);
    pub const PLAIN: usize = offset_of!(Slot, plain);
    pub const RCU_FREE: usize = offset_of!(Slot, rcu_free);
    pub const HITS: usize = offset_of!(Slot, hits);
    pub const HELD: usize = offset_of!(Slot, held);
    /// log2 of the slot's size: the sequences shift the CPU number by it.
    pub const SHIFT: usize = 6;
}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<Slot>() == 1 << offset::SHIFT);
    assert!(offset::PLAIN.is_multiple_of(16) && offset::HELD.is_multiple_of(16));
    // A counting sequence commits hits and main by one 16-byte store inside the cache line.
    assert!(offset::HITS + 8 == offset::HELD);
};

impl Slot {
    /// A slot on which everything misses.
    pub const fn closed() -> Self {
        Self { mask: 0, flag: TryFlag::new(), plain: Pair::stopped(), rcu_free: stop(), hits: 0, held: Pair::stopped() }
    }
}

/// A cache's slots, as seen from CPU 0's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Slots(pub *mut Slot);

impl Slots {
    pub fn of(self, cpu: Cpu) -> *mut Slot {
        self.0.wrapping_offset(cpu as isize)
    }
}
