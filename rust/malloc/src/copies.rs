//! Copies of memory and of texts, in memory of kmalloc.

use crate::abi::gfp_t;
use crate::size::{kmalloc, kvmalloc, product};
use core::ffi::{c_char, c_void};
use core::ptr::null_mut;

/// A copy of `len` bytes. NULL as kmalloc, and for NULL.
///
/// # Safety
/// `from` is null or leads to `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmemdup(from: *const c_void, len: usize, flags: gfp_t) -> *mut c_void {
    // SAFETY: the caller's word.
    unsafe { copy(from, len, 0, |bytes| kmalloc(bytes, flags)) }
}

/// kmemdup for an array: see kmalloc_array.
///
/// # Safety
/// As kmemdup.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmemdup_array(from: *const c_void, count: usize, size: usize, flags: gfp_t) -> *mut c_void {
    // SAFETY: the caller's word.
    unsafe { kmemdup(from, product(count, size), flags) }
}

/// kmemdup into memory of kvmalloc.
///
/// # Safety
/// As kmemdup.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvmemdup(from: *const c_void, len: usize, flags: gfp_t) -> *mut c_void {
    // SAFETY: the caller's word.
    unsafe { copy(from, len, 0, |bytes| kvmalloc(bytes, flags)) }
}

/// A copy of `len` bytes as a text: with a null behind them.
///
/// # Safety
/// As kmemdup.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmemdup_nul(from: *const c_char, len: usize, flags: gfp_t) -> *mut c_char {
    // SAFETY: the caller's word.
    unsafe { copy(from.cast(), len, 1, |bytes| kmalloc(bytes, flags)).cast() }
}

/// A copy of a text. NULL as kmalloc, and for NULL.
///
/// # Safety
/// `from` is null or a text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kstrdup(from: *const c_char, flags: gfp_t) -> *mut c_char {
    // SAFETY: the caller's word.
    unsafe { kstrndup(from, usize::MAX, flags) }
}

/// A copy of a text's first `most` bytes at most.
///
/// # Safety
/// `from` is null, a text, or at least `most` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kstrndup(from: *const c_char, most: usize, flags: gfp_t) -> *mut c_char {
    // SAFETY: the caller's word, here and below.
    let len = if from.is_null() { 0 } else { unsafe { libc::strnlen(from, most) } };
    // SAFETY: as above.
    unsafe { kmemdup_nul(from, len, flags) }
}

/// # Safety
/// As [`kmemdup`]; `more` bytes behind become zero.
unsafe fn copy(from: *const c_void, len: usize, more: usize, alloc: impl FnOnce(usize) -> *mut c_void) -> *mut c_void {
    if from.is_null() {
        return null_mut();
    }
    let to = alloc(len.saturating_add(more));
    if !to.is_null() && len + more > 0 {
        // SAFETY: so many bytes are there and here, and apart.
        unsafe {
            to.cast::<u8>().copy_from_nonoverlapping(from.cast(), len);
            to.cast::<u8>().add(len).write_bytes(0, more);
        }
    }
    to
}
