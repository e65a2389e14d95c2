#![forbid(unsafe_code)]
//! A slab's descriptor, and the word in it that changes by one swap.
//!
//! The descriptor belongs to the slab, not to its address: it comes from a type-stable pool whose memory is never unmapped,
//! so a thread that lost a race may still read it. Source: `struct slab` of the kernel, with the kernel's `freelist` and
//! `counters` as one doubleword.

use crate::sync::{DoubleWord, Fields, Link};

/// Place of an object in its slab: its byte offset / 8 + 1; 0 is "none". It reaches over 8 MiB, the largest slab.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub(crate) struct ObjRef(pub u32);

impl ObjRef {
    pub const NONE: Self = Self(0);

    pub const fn at(offset: usize) -> Self {
        Self((offset / 8 + 1) as u32)
    }

    pub const fn offset(self) -> usize {
        (self.0 as usize - 1) * 8
    }

    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// What one swap changes: the free list's head, how many are free, whether the slab has died, and a generation that grows
/// with each death, so that nobody mistakes a descriptor's next slab for the last one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SlabState {
    pub head: ObjRef,
    pub free: u32,
    pub dead: bool,
    pub generation: u64,
}

const HEAD_BITS: u32 = 20;
const FREE_BITS: u32 = 15;

impl Fields for SlabState {
    fn to_double(self) -> (u64, u64) {
        (u64::from(self.head.0) | u64::from(self.free) << 32 | u64::from(self.dead) << 63, self.generation)
    }

    fn from_double(word0: u64, word1: u64) -> Self {
        Self {
            head: ObjRef(word0 as u32),
            free: (word0 >> 32) as u32 & 0x7fff_ffff,
            dead: word0 >> 63 != 0,
            generation: word1,
        }
    }

    fn to_packed(self) -> u64 {
        debug_assert!(self.head.0 < 1 << HEAD_BITS && self.free < 1 << FREE_BITS);
        u64::from(self.head.0)
            | u64::from(self.free) << HEAD_BITS
            | u64::from(self.dead) << (HEAD_BITS + FREE_BITS)
            | self.generation << (HEAD_BITS + FREE_BITS + 1)
    }

    fn from_packed(word: u64) -> Self {
        Self {
            head: ObjRef(word as u32 & ((1 << HEAD_BITS) - 1)),
            free: (word >> HEAD_BITS) as u32 & ((1 << FREE_BITS) - 1),
            dead: word >> (HEAD_BITS + FREE_BITS) & 1 != 0,
            generation: word >> (HEAD_BITS + FREE_BITS + 1),
        }
    }
}

impl SlabState {
    /// The same slab with another free list.
    pub fn with(self, head: ObjRef, free: u32) -> Self {
        Self { head, free, ..self }
    }

    /// The slab's death: its descriptor is nobody's but the killer's.
    pub fn killed(self) -> Self {
        Self { head: ObjRef::NONE, free: 0, dead: true, generation: self.generation.wrapping_add(1) }
    }

    /// The death of a slab whose pages wait in the graveyard. `listed`: a tombstone stays, so that two have to let go of the
    /// descriptor, whoever pops the tombstone and whoever frees the pages; else the latter alone.
    pub fn killed_in_waiting(self, listed: bool) -> Self {
        let dead = self.killed();
        if listed { dead } else { dead.let_go() }
    }

    /// Of a dead slab: one of the two has let go, or there was only one. A dead slab has no free list, so its head is free
    /// to say so.
    pub const fn is_let_go(self) -> bool {
        !self.head.is_none()
    }

    /// A dead slab that the first of the two has let go of.
    pub fn let_go(self) -> Self {
        Self { head: ObjRef::at(0), ..self }
    }

    /// The descriptor's next slab.
    pub fn reborn(self, head: ObjRef, free: u32) -> Self {
        Self { head, free, dead: false, generation: self.generation }
    }
}

/// 64 bytes in the metadata arena. The links and `word` are atomic; `stamp` belongs to who killed the slab and then to who took
/// it off the graveyard's lists; the rest is written by the slab's creator before anybody
/// else can know the slab, and read only by who holds one of its objects or has popped it.
#[repr(C, align(64))]
pub(crate) struct Descriptor {
    pub link: Link,
    /// Slots of the owning cache.
    pub cache: u64,
    pub word: DoubleWord<SlabState>,
    /// First page of the run.
    pub page: u32,
    /// Objects in this slab.
    pub total: u32,
    pub order: u8,
    pub node: u8,
    /// In the graveyard's lists. Another link than that of the stacks of partial slabs, where the tombstone may still lie.
    pub grave: Link,
    /// What the slab's pages wait for.
    pub stamp: u64,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Descriptor>() == 64);

#[cfg(all(test, not(loom)))]
#[path = "descriptor_tests.rs"]
mod tests;
