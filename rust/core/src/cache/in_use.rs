#![forbid(unsafe_code)]
//! Which caches are in use, so that `idle` looks at these and no others; and who starts the service thread for it.

use super::header::Cache;
use crate::os;
use crate::percpu::BackendKind;
use crate::service;
use crate::sync::Gong;
use core::cell::Cell;
use core::ffi::c_void;
use std::sync::OnceLock;

/// Up while the task is sure to run.
pub(super) static ARMED: Gong = Gong::new();

/// Up while there is something to look after and no service thread to do it.
pub(super) static WANTED: Gong = Gong::new();

/// A slow path is at work in the cache: objects may lie in its CPUs' sheaves from now on.
#[inline]
pub(super) fn note(cache: &Cache) {
    if !cache.in_use.is_rung() {
        tell(cache);
    } else if WANTED.is_rung() && !ATTENDS.get() {
        attend_at_exit();
    }
}

#[cold]
fn tell(cache: &Cache) {
    // Virtual CPUs go when their owner says so. A thread that shuttle does not know would make its schedules unrepeatable.
    if cache.arena.kind == BackendKind::Virtual || !cache.has_sheaves() || cfg!(shuttle) {
        return;
    }
    if cache.in_use.ring() && ARMED.ring() && !service::wake() {
        // Who may take locks starts the thread.
        ARMED.hear();
        WANTED.ring();
        attend_at_exit();
    }
}

/// Where locks are allowed: starts the service thread if it is wanted here. Not in a process with one thread, which would stop to be
/// one; whoever starts a second thread sees it end, or makes and ends caches.
pub(super) fn attend() {
    if WANTED.is_rung() && os::thread::has_others() {
        start();
    }
}

fn start() {
    if WANTED.hear() {
        ARMED.ring();
        if !service::kick() {
            ARMED.hear();
            WANTED.ring();
        }
    }
}

/// Keys below this number have their values in the thread's own memory: setting one allocates nothing, so a signal handler may.
const OWN_KEYS: u32 = 32;

/// The key whose destructor runs [`start`] when a thread ends; none where the process has used all of them.
static KEY: OnceLock<Option<u32>> = OnceLock::new();

thread_local! {
    /// Whether the calling thread's end starts the service. Plain, so that it is there as long as the thread is.
    static ATTENDS: Cell<bool> = const { Cell::new(false) };
}

/// Sees to it that the end of the calling thread starts the service.
#[cold]
fn attend_at_exit() {
    if ATTENDS.replace(true) {
        return;
    }
    if let Some(&Some(key)) = KEY.get() {
        // Without it the next one to make or end a cache will do.
        let _ = os::thread::set_at_exit(key, core::ptr::dangling_mut());
    }
}

/// Once, where locks are allowed.
pub(super) fn watch_exits() {
    KEY.get_or_init(|| match os::thread::exit_key(at_exit) {
        Ok(key) if key < OWN_KEYS => Some(key),
        Ok(key) => {
            os::thread::drop_exit_key(key);
            None
        }
        Err(_) => None,
    });
}

extern "C" fn at_exit(_: *mut c_void) {
    start();
}

/// In the child of a fork: the service thread stayed in the parent.
pub(super) fn in_child() {
    if ARMED.hear() {
        WANTED.ring();
    }
}
