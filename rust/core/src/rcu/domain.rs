//! The process's one RCU: its grace periods over the real system.
#![forbid(unsafe_code)]

use super::grace::{Grace, Platform};
use crate::os;

pub(super) static GRACE: Grace = Grace::new();

/// The running system.
pub(super) struct System;

impl Platform for System {
    fn register() -> bool {
        os::membarrier::register_fences().is_ok()
    }

    fn fence_everybody() {
        os::membarrier::fence_everybody();
    }
}

/// What a read section's entry costs here, for `haybarn info`: a compiler fence where membarrier(2) fences readers when
/// somebody waits for them, a full fence where the system refuses that.
#[must_use]
pub fn reader_fence() -> &'static str {
    if settle() { "none (membarrier by who waits)" } else { "full (membarrier refused)" }
}

/// Finds out which side pays for fences, if nobody has; true if readers pay nothing.
pub(super) fn settle() -> bool {
    GRACE.sides.settle(System::register)
}
