//! A read section as a value.
#![forbid(unsafe_code)]

use super::local;
use core::marker::PhantomData;

/// A read section; it ends when this is dropped. What is freed after a grace period that begins from now on stays until then.
///
/// It stays on its thread. Forgetting it leaves the section open until the thread ends.
#[must_use = "the section ends when the guard is dropped"]
#[derive(Debug)]
pub struct ReadGuard {
    _this_thread: PhantomData<*mut ()>,
}

/// Begins a read section; sections nest. It never waits, is never refused and may be called from signal handlers; it costs a
/// few nanoseconds and no atomic read-modify-write.
///
/// In a section, waiting for a grace period is an error ([`crate::Error::InReadSection`]), and every other wait for a thread
/// that may wait for a grace period is a deadlock.
///
/// Source: Linux's `rcu_read_lock`.
///
/// # Panics
/// With 65535 sections inside one another.
#[inline]
pub fn read_lock() -> ReadGuard {
    local::enter();
    ReadGuard { _this_thread: PhantomData }
}

impl Drop for ReadGuard {
    #[inline]
    fn drop(&mut self) {
        local::leave();
    }
}
