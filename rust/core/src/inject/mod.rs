//! Failures on demand: the one place that every request for memory passes, and which faults are on.
//!
//! | file | idea |
//! |---|---|
//! | `attr` | how a fault chooses what fails: its parameters, checked, also as the environment writes them |
//! | `entry` | one fault at work: what it has counted, and its verdict on a request |
//! | `list` | all faults, found without a lock by whoever asks |
//!
//! What fails objects must also keep the fast path from handing them out; that is the caches' part (`cache::park`).
//! Source: Linux's fault injection, `should_fail` with `fail_page_alloc` and `failslab`.
#![forbid(unsafe_code)]

#[cfg(not(loom))]
mod attr;
#[cfg(not(loom))]
mod entry;
#[cfg(not(loom))]
mod list;

#[cfg(not(loom))]
pub use attr::FaultAttr;
#[cfg(not(loom))]
pub(crate) use entry::Target;
#[cfg(not(loom))]
pub use list::{FaultGuard, fail_page_alloc};
#[cfg(not(loom))]
pub(crate) use list::{begin, forget, is_singled_out, object, objects_fail, on, start_from_environment};

/// What memory is requested for. Faults of `fail_page_alloc` are asked at all of these points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Pages: a run or a span.
    Pages,
    /// Metadata: a sheaf, a descriptor, a cache's own block.
    Metadata,
    /// A wrapper that a binding puts around an object, in its language's memory.
    Wrapper,
}

/// Asks whether a request for `bytes` bytes may be granted; `false`: a fault wants it to fail, and the caller is out of memory.
///
/// To be called where memory is requested, once per request. While no fault is on it costs a load. Takes no lock, waits for
/// nobody.
#[inline]
#[must_use]
pub fn request(point: Point, bytes: usize) -> bool {
    #[cfg(not(loom))]
    if list::any_on_memory() {
        return list::memory(bytes);
    }
    let _ = (point, bytes);
    true
}

#[cfg(all(test, not(any(loom, shuttle))))]
#[path = "inject_tests.rs"]
mod tests;
