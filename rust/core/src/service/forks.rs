#![forbid(unsafe_code)]
//! What becomes of the service in a forked child.
//!
//! A child has the thread that forked, and no other. If that is the service thread (a callback forked), it goes on there as the
//! child's service thread, and the child ends when it has nothing left to do and no other thread is there. If it is another thread
//! than the first one, the child has no `main` to return from: it ends with its last thread, which the service must not be for
//! ever.

use super::state::{BELL, Service, lock};
use crate::os;
use crate::os::fork::Hooks;
use crate::sync::Counter;
use core::cell::RefCell;
use std::sync::MutexGuard;

/// 1 in a process that ends with its last thread.
static ENDS_WITH_THREADS: Counter = Counter::new();
/// 1 if the thread that forks is the process's first. Written with the lock held.
static FIRST_FORKS: Counter = Counter::new();

/// Whether nobody but the process's other threads is there to end it.
pub(super) fn keeps_nobody_else_alive() -> bool {
    ENDS_WITH_THREADS.get() != 0
}

thread_local! {
    /// The forking thread's, between prepare and release.
    static HELD: RefCell<Option<MutexGuard<'static, Service>>> = const { RefCell::new(None) };
}

static HOOKS: Hooks = Hooks::new(prepare, in_parent, in_child);

/// Watches for forks from now on.
pub(crate) fn watch() {
    HOOKS.watch();
}

extern "C" fn prepare() {
    // A thread whose locals are gone is ending; a fork from there goes without the lock.
    let _ = HELD.try_with(|held| held.replace(Some(lock())));
    FIRST_FORKS.set(os::thread::is_first().into());
}

extern "C" fn in_parent() {
    let _ = HELD.try_with(RefCell::take);
}

extern "C" fn in_child() {
    if FIRST_FORKS.get() == 0 {
        ENDS_WITH_THREADS.set(1);
    }
    let held = HELD.try_with(RefCell::take).ok().flatten();
    if let Some(mut service) = held {
        if service.running.is_some() && service.token == os::thread::token() {
            // What was rung for has not been heard here: it is the parent's.
            BELL.hear();
        } else {
            // The handle must not be dropped, which would touch a thread that is not there.
            core::mem::forget(service.thread.take());
            (service.running, service.token) = (None, 0);
            BELL.reset();
        }
    }
}
