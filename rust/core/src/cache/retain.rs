#![forbid(unsafe_code)]
//! What may keep objects for itself when their grace period is over: a stand-in for a quarantine, so that the order of a
//! cache's end can be tested against one (K§2.19).

use core::fmt;
use core::ptr::NonNull;

/// Keeps freed objects back. Called with locks of the allocator held: it must not call into it.
#[doc(hidden)]
pub trait Retain: Send + Sync {
    /// True: the object is the retainer's until [`Retain::purge`].
    fn retain(&self, object: NonNull<u8>) -> bool;

    /// Gives up everything that it kept; each object once.
    fn purge(&self) -> Vec<NonNull<u8>>;
}

impl fmt::Debug for dyn Retain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Retain")
    }
}
