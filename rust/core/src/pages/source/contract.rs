//! What a source must provide.

#![forbid(unsafe_code)]

use crate::os::mem::Mapping;
use std::io;

/// A page source. Methods may be called by any thread at any time and do not wait.
pub(in crate::pages) trait PageSource {
    /// The name in options and reports.
    fn name(&self) -> &'static str;

    /// Reserves the range that user pages are taken from: `len` bytes, a multiple of 2 MiB, aligned to 2 MiB, all zeros.
    fn reserve(&self, len: usize) -> io::Result<Mapping>;

    /// Asked before `pages` pages are handed out, to users or to metadata. No: the caller is out of memory.
    fn grant(&self, pages: usize) -> bool {
        let _ = pages;
        true
    }
}
