//! The only place that knows which model checker is running.
//!
//! Everything above takes its atomics and cells from here, so that the code that ships is the code that is checked.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, fence};

#[cfg(all(shuttle, not(loom)))]
pub(crate) use shuttle::sync::atomic::{AtomicU64, fence};

#[cfg(not(any(loom, shuttle)))]
pub(crate) use core::sync::atomic::{AtomicU64, fence};
