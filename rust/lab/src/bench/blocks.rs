//! What a row asks of an allocator: blocks of one size, blocks of any size, and handles that cannot be misused.
//!
//! A [`Block`] is moved into `free`, so a row cannot free twice or touch a freed block, and rows need no `unsafe`.

use core::arch::asm;
use core::marker::PhantomData;
use core::ptr::NonNull;

/// A block that is handed out by the allocator `B` and not yet freed.
pub struct Block<B: ?Sized>(NonNull<u8>, PhantomData<fn(B)>);

// SAFETY: a block is plain memory that one owner at a time holds; every target accepts frees from any thread.
unsafe impl<B: ?Sized> Send for Block<B> {}

impl<B: ?Sized> Block<B> {
    /// Takes what an allocator returned; none where that is null.
    ///
    /// # Safety
    /// `address` is null, or is aligned for and valid for reads and writes of 8 bytes until this block is freed, and nobody
    /// else uses it.
    #[inline(always)]
    #[must_use]
    pub unsafe fn from_raw(address: *mut u8) -> Option<Self> {
        NonNull::new(address).map(|address| Self(address, PhantomData))
    }

    /// Gives the address back to an allocator's `free`.
    #[inline(always)]
    #[must_use]
    pub fn into_raw(self) -> *mut u8 {
        self.0.as_ptr()
    }

    /// Writes the first word, as a program does with what it allocates.
    #[inline(always)]
    pub fn write(&self, word: u64) {
        // SAFETY: by `from_raw` the block is ours, aligned and at least 8 bytes.
        unsafe { self.0.cast::<u64>().as_ptr().write(word) }
    }

    /// Reads the first word; something must have been written.
    #[inline(always)]
    #[must_use]
    pub fn read(&self) -> u64 {
        // SAFETY: as `write`; the word is volatile so that the read is not dropped.
        unsafe { self.0.cast::<u64>().as_ptr().read_volatile() }
    }

    /// The same block, but the compiler can assume nothing about the address or about memory any more. Unlike
    /// `core::hint::black_box` the address stays in a register, which keeps 4 to 5 cycles of store forwarding out of the pair rows.
    #[inline(always)]
    #[must_use]
    pub fn opaque(self) -> Self {
        let mut address = self.0.as_ptr();
        // SAFETY: no instruction at all; the operand comes back unchanged.
        unsafe { asm!("/* {0} */", inout(reg) address, options(nostack, preserves_flags)) };
        // SAFETY: unchanged, so still not null.
        Self(unsafe { NonNull::new_unchecked(address) }, PhantomData)
    }
}

/// The block, or the end of the benchmark.
#[inline(always)]
pub fn had<B: ?Sized>(block: Option<Block<B>>) -> Block<B> {
    block.unwrap_or_else(|| out_of_memory())
}

#[cold]
#[inline(never)]
fn out_of_memory() -> ! {
    panic!("out of memory in a benchmark")
}

/// An allocator of blocks of one size.
pub trait Blocks: Clone + Send + 'static {
    /// True where `alloc` and `free` are calls into code that no inlining reaches (a C library): the row "behind a call" then
    /// adds no second call.
    const CALLED: bool;
    /// A new block, with undefined contents; none where memory is out.
    fn try_alloc(&self) -> Option<Block<Self>>;

    /// A new block.
    ///
    /// # Panics
    /// Where memory is out: a benchmark has no result then.
    #[inline(always)]
    fn alloc(&self) -> Block<Self> {
        had(self.try_alloc())
    }

    /// Frees a block, from any thread.
    fn free(&self, block: Block<Self>);
}

/// An allocator of blocks of 16 to 1024 bytes.
pub trait Sizes: Clone + Send + 'static {
    /// A new block of at least `size` bytes; none where memory is out.
    fn try_alloc(&self, size: usize) -> Option<Block<Self>>;

    /// A new block of at least `size` bytes.
    ///
    /// # Panics
    /// Where memory is out: a benchmark has no result then.
    #[inline(always)]
    fn alloc(&self, size: usize) -> Block<Self> {
        had(self.try_alloc(size))
    }

    /// Frees a block that was asked for with `size` bytes.
    fn free(&self, block: Block<Self>, size: usize);
}

/// What a target is in the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The row's own cost: blocks come from a fixed ring of addresses and nothing is freed.
    Control,
    /// This allocator.
    Haybarn,
    /// An allocator to beat.
    Peer,
}

/// One allocator that rows can be run on.
pub trait Target: 'static {
    /// The name in tables and JSON.
    const NAME: &'static str;
    /// Its part in the comparison.
    const KIND: Kind;
    /// Blocks of 64 bytes.
    type B64: Blocks;
    /// Blocks of 16 to 1024 bytes.
    type Mixed: Sizes;

    /// # Errors
    /// A text that says why the target is not to be had here.
    fn b64() -> Result<Self::B64, String>;
    /// # Errors
    /// As [`Target::b64`].
    fn mixed() -> Result<Self::Mixed, String>;
}
