//! An array in a reserved range of its own: committed by touching, zeroed by the system.

use crate::os::mem::{HUGE_PAGE, Mapping};
use core::ops::Deref;
use std::io;

/// A type that zeroed memory holds a valid value of, and that threads may share.
///
/// # Safety
/// All fields are atomics for which all bits zero is a value, or arrays and structs of such. No destructor.
pub(super) unsafe trait Zeroed: Sync {}

/// `len` values of `T`, all zero at first, on pages of their own far from user data.
pub(super) struct Area<T: Zeroed> {
    range: Mapping,
    len: usize,
    of: core::marker::PhantomData<T>,
}

impl<T: Zeroed> Area<T> {
    /// Reserves the array.
    ///
    /// # Errors
    /// What `mmap` said.
    pub fn new(len: usize) -> io::Result<Self> {
        let bytes = (len * size_of::<T>()).max(1).next_multiple_of(HUGE_PAGE);
        Ok(Self { range: Mapping::anonymous(bytes)?, len, of: core::marker::PhantomData })
    }
}

impl<T: Zeroed> Deref for Area<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: the range is mapped as long as `self` lives, at least `len` values long, aligned to 2 MiB and zero where
        // never written, which is a valid `T` by `Zeroed`. Nobody has another kind of pointer to it, and `T` is shared soundly.
        unsafe { core::slice::from_raw_parts(self.range.base().as_ptr().cast(), self.len) }
    }
}
