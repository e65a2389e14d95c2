//! One adapter for every general allocator: blocks of fixed and of mixed sizes over `malloc` and `free`.

use crate::bench::blocks::{Block, Blocks, Sizes};
use core::alloc::Layout;
use core::marker::PhantomData;

/// A general allocator, called directly and monomorphised, so that its own inlining takes effect.
///
/// # Safety
/// `malloc` returns null or a block of `layout` that stays valid until `free`, which may be called from any thread.
pub unsafe trait Malloc: 'static {
    /// True where both calls go into a C library.
    const CALLED: bool;
    /// # Safety
    /// `layout` has a size above 0.
    unsafe fn malloc(layout: Layout) -> *mut u8;
    /// # Safety
    /// `address` came from `malloc` with the same `layout` and was not freed since.
    unsafe fn free(address: *mut u8, layout: Layout);
}

/// Blocks of `SIZE` bytes from the allocator `M`.
pub struct Fixed<M, const SIZE: usize>(PhantomData<fn(M)>);

impl<M, const SIZE: usize> Fixed<M, SIZE> {
    /// The adapter.
    #[must_use]
    pub const fn new() -> Self {
        assert!(SIZE >= 8);
        Self(PhantomData)
    }

    const LAYOUT: Layout = match Layout::from_size_align(SIZE, 8) {
        Ok(layout) => layout,
        Err(_) => panic!("size"),
    };
}

impl<M, const SIZE: usize> Default for Fixed<M, SIZE> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M, const SIZE: usize> Clone for Fixed<M, SIZE> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<M: Malloc, const SIZE: usize> Blocks for Fixed<M, SIZE> {
    const CALLED: bool = M::CALLED;

    #[inline(always)]
    fn try_alloc(&self) -> Option<Block<Self>> {
        // SAFETY: SIZE is at least 8; what comes back is as `Block::from_raw` asks, by the trait's contract.
        unsafe { Block::from_raw(M::malloc(Self::LAYOUT)) }
    }

    #[inline(always)]
    fn free(&self, block: Block<Self>) {
        // SAFETY: a block of this type came from `alloc` above and is moved in here once.
        unsafe { M::free(block.into_raw(), Self::LAYOUT) }
    }
}

/// Blocks of any size from the allocator `M`.
pub struct Any<M>(PhantomData<fn(M)>);

impl<M> Any<M> {
    /// The adapter.
    #[must_use]
    pub const fn new() -> Self {
        Self(PhantomData)
    }

    #[inline(always)]
    fn layout(size: usize) -> Layout {
        debug_assert!((8..=1024).contains(&size));
        // SAFETY: 8 is a power of two and no size of a row is near the end of the address space.
        unsafe { Layout::from_size_align_unchecked(size, 8) }
    }
}

impl<M> Default for Any<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M> Clone for Any<M> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<M: Malloc> Sizes for Any<M> {
    #[inline(always)]
    fn try_alloc(&self, size: usize) -> Option<Block<Self>> {
        // SAFETY: the size is at least 8; what comes back is as `Block::from_raw` asks, by the trait's contract.
        unsafe { Block::from_raw(M::malloc(Self::layout(size))) }
    }

    #[inline(always)]
    fn free(&self, block: Block<Self>, size: usize) {
        // SAFETY: a block of this type came from `alloc` above with the same size and is moved in here once.
        unsafe { M::free(block.into_raw(), Self::layout(size)) }
    }
}

/// Makes a [`Target`](crate::bench::blocks::Target) of a [`Malloc`].
macro_rules! peer {
    ($type:ty, $name:literal) => {
        impl $crate::bench::blocks::Target for $type {
            const NAME: &'static str = $name;
            const KIND: $crate::bench::blocks::Kind = $crate::bench::blocks::Kind::Peer;
            type B64 = $crate::bench::targets::malloc::Fixed<$type, 64>;
            type Mixed = $crate::bench::targets::malloc::Any<$type>;

            fn b64() -> Result<Self::B64, String> {
                Ok(Self::B64::new())
            }

            fn mixed() -> Result<Self::Mixed, String> {
                Ok(Self::Mixed::new())
            }
        }
    };
}
pub(crate) use peer;
