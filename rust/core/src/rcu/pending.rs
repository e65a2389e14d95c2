//! The process's callbacks and flushers.
//!
//! A short lock that forks take, never held while a callback runs, a reader is waited for or memory is given back. So a
//! forked child finds each callback either queued, or run (or being run) by a thread of the parent.
#![forbid(unsafe_code)]

use super::domain::GRACE;
use super::queue::{Callback, Head, Queue};
use crate::error::Error;
use crate::os;
use crate::os::fork::Hooks;
use core::cell::RefCell;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Something that holds back frees of its own until a grace period is over: a barrier ([`super::barrier`]) flushes it too.
pub trait Flush: Sync {
    /// Returns true when everything that was handed in before the call has been freed, false if `go_on`, to be asked now and
    /// then while it waits, said no. It must not depend on the service thread.
    ///
    /// # Errors
    /// What kept it from it; the barrier gives it on.
    fn flush(&self, go_on: &dyn Fn() -> bool) -> Result<bool, Error>;
}

struct Pending {
    queue: Queue,
    flushers: Vec<&'static dyn Flush>,
}

static PENDING: Mutex<Pending> = Mutex::new(Pending { queue: Queue::new(), flushers: Vec::new() });

fn lock() -> MutexGuard<'static, Pending> {
    PENDING.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn push(callback: Callback) {
    lock().queue.push(&GRACE, callback);
}

pub(super) fn end() -> u64 {
    lock().queue.end()
}

pub(super) fn pop(end: u64) -> Head {
    lock().queue.pop(&GRACE, end, os::thread::token())
}

pub(super) fn ran(number: u64, panicked: bool) {
    lock().queue.ran(number, panicked);
}

pub(super) fn have_run(end: u64) -> bool {
    lock().queue.have_run(end)
}

pub(super) fn is_inside() -> bool {
    lock().queue.is_inside(os::thread::token())
}

pub(super) fn is_waiting() -> bool {
    lock().queue.is_waiting()
}

pub(super) fn counts() -> (u64, u64, u64) {
    lock().queue.counts()
}

/// Adds something that barriers flush, for good.
pub(super) fn add_flusher(flusher: &'static dyn Flush) {
    lock().flushers.push(flusher);
}

pub(super) fn flushers() -> Vec<&'static dyn Flush> {
    lock().flushers.clone()
}

thread_local! {
    /// The forking thread's, between prepare and release.
    static HELD: RefCell<Option<MutexGuard<'static, Pending>>> = const { RefCell::new(None) };
}

static HOOKS: Hooks = Hooks::new(prepare, release, in_child);

/// Watches for forks from now on.
pub(super) fn watch_forks() {
    HOOKS.watch();
}

extern "C" fn prepare() {
    // A thread whose locals are gone is ending; a fork from there goes without the lock.
    let _ = HELD.try_with(|held| held.replace(Some(lock())));
}

extern "C" fn release() {
    let _ = HELD.try_with(RefCell::take);
}

extern "C" fn in_child() {
    let _ = HELD.try_with(|held| {
        if let Some(mut pending) = held.take() {
            pending.queue.keep_running(os::thread::token());
        }
    });
}
