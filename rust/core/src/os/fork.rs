//! A number that grows in every forked child, so that what a vanished thread left behind can be told from what is in use.

use crate::sync::Counter;
use std::sync::Once;

static GENERATION: Counter = Counter::new();

extern "C" fn in_child() {
    GENERATION.add(1);
}

/// Watches for forks from now on. Called when an arena is made.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handler only adds to an atomic, which is allowed between fork and exec.
        let refused = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        assert_eq!(refused, 0, "pthread_atfork: no memory for one handler");
    });
}

/// This process's generation, never 0: the owner's mark on flags that a fork may orphan.
pub(crate) fn generation() -> u64 {
    GENERATION.get() + 1
}

/// True if `mark` was left by a thread of the parent.
pub(crate) fn is_stale(mark: u64) -> bool {
    mark != generation()
}
