//! The control: what a row costs when allocating costs nothing.

use crate::bench::blocks::{Block, Blocks, Kind, Sizes, Target};
use core::cell::Cell;

const SLOTS: usize = 4096;
const MIXED_SLOT: usize = 1024;

/// Hands out the addresses of a fixed ring of slots in turn and takes nothing back. Two live blocks may share an address, so it is
/// never stamped and checked.
pub struct Control;

/// The ring of slots of `SIZE` bytes.
pub struct Ring<const SIZE: usize> {
    base: usize,
    next: Cell<usize>,
}

impl<const SIZE: usize> Ring<SIZE> {
    fn new() -> Self {
        // Never freed: one ring per row for the life of a benchmark process.
        Self { base: vec![0u64; SLOTS * SIZE / 8].leak().as_mut_ptr().expose_provenance(), next: Cell::new(0) }
    }

    #[inline(always)]
    fn take<B: ?Sized>(&self) -> Option<Block<B>> {
        let slot = self.next.get();
        self.next.set((slot + 1) % SLOTS);
        // SAFETY: inside the leaked ring, 8-aligned. Slots come round again while a row holds them, but a row only writes and
        // reads whole words of them by raw pointers and draws no conclusion.
        unsafe { Block::from_raw(core::ptr::with_exposed_provenance_mut(self.base + slot * SIZE)) }
    }
}

impl<const SIZE: usize> Clone for Ring<SIZE> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<const SIZE: usize> Blocks for Ring<SIZE> {
    const CALLED: bool = false;

    #[inline(always)]
    fn try_alloc(&self) -> Option<Block<Self>> {
        self.take()
    }

    #[inline(always)]
    fn free(&self, block: Block<Self>) {
        let _ = block;
    }
}

impl Sizes for Ring<MIXED_SLOT> {
    #[inline(always)]
    fn try_alloc(&self, _size: usize) -> Option<Block<Self>> {
        self.take()
    }

    #[inline(always)]
    fn free(&self, block: Block<Self>, _size: usize) {
        let _ = block;
    }
}

impl Target for Control {
    const NAME: &'static str = "control";
    const KIND: Kind = Kind::Control;
    type B64 = Ring<64>;
    type Mixed = Ring<MIXED_SLOT>;

    fn b64() -> Result<Self::B64, String> {
        Ok(Ring::new())
    }

    fn mixed() -> Result<Self::Mixed, String> {
        Ok(Ring::new())
    }
}
