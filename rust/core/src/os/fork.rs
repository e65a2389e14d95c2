//! A number that grows in every forked child, so that what a vanished thread left behind can be told from what is in use;
//! and the hooks around a fork.

use crate::sync::Counter;
use std::sync::{Once, OnceLock};

static GENERATION: Counter = Counter::new();

static RELEASE: OnceLock<extern "C" fn()> = OnceLock::new();

extern "C" fn in_child() {
    GENERATION.add(1);
    if let Some(release) = RELEASE.get() {
        release();
    }
}

/// Watches for forks from now on: `prepare` runs before one in the forking thread, `release` after it in parent and child.
/// The first call's hooks stay.
pub(crate) fn watch(prepare: extern "C" fn(), release: extern "C" fn()) {
    static WATCHING: Once = Once::new();
    WATCHING.call_once(|| {
        // First: the child's handler must find it.
        RELEASE.get_or_init(|| release);
        // SAFETY: `in_child` adds to an atomic and lets go of what `prepare` took in the same thread.
        let refused = unsafe { libc::pthread_atfork(Some(prepare), Some(release), Some(in_child)) };
        assert_eq!(refused, 0, "pthread_atfork: no memory for three handlers");
    });
}

/// This process's generation, never 0: the owner's mark on flags that a fork may orphan.
pub(crate) fn generation() -> u64 {
    GENERATION.get() + 1
}

/// The mark of a slot that is closed until further notice, by nobody in particular: no fork makes it stale.
pub(crate) const PARKED: u64 = u64::MAX;

/// True if `mark` was left by a thread of the parent.
pub(crate) fn is_stale(mark: u64) -> bool {
    mark != generation() && mark != PARKED
}
