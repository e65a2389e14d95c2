//! The calling thread, as its seat makes it known: what a call finds out once and uses several times.
#![forbid(unsafe_code)]

use super::kept::KEPT;
use super::seat::Seat;
use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr::NonNull;

/// The calling thread during one call: its place at every [`super::Turnstile`], and what it keeps. Not to be held longer: a thread
/// that is watched ([`super::watch_thread`]) or that ends loses its place.
#[derive(Debug)]
pub struct Here(Seat, PhantomData<*const ()>);

impl Here {
    /// The calling thread. A few instructions, once the thread has been here before.
    #[inline(always)]
    #[must_use]
    #[allow(clippy::new_without_default, reason = "which thread is here is no default of anything")]
    pub fn new() -> Self {
        Self(Seat::mine(), PhantomData)
    }

    #[inline(always)]
    pub(super) fn seat(&self) -> Seat {
        self.0
    }

    /// A pointer that this thread kept by [`Here::keep`], or one that has ended, and that nobody has taken since. `None`: there is
    /// none. No atomic read-modify-write; never waits.
    #[inline(always)]
    #[must_use]
    pub fn take_kept(&self) -> Option<NonNull<c_void>> {
        KEPT.take(self.0)
    }

    /// Keeps a pointer for [`Here::take_kept`]. `false`: the pointer is still the caller's, because there is no room, or other 24
    /// threads came first, or the thread is watched. In the child of a fork what other threads kept is forgotten.
    #[inline(always)]
    #[must_use]
    pub fn keep(&self, pointer: NonNull<c_void>) -> bool {
        KEPT.keep(self.0, pointer)
    }
}
