//! The queue of callbacks: who waits for which grace period, and who is being run.
//!
//! A short lock that forks take, never held while a callback runs, a reader is waited for or memory is given back. So a
//! forked child finds each callback either queued, or run (or being run) by a thread of the parent.
#![forbid(unsafe_code)]

use super::domain::GRACE;
use crate::error::Error;
use crate::os;
use crate::os::fork::Hooks;
use crate::sync::Bug;
use core::cell::RefCell;
use std::collections::VecDeque;
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

pub(super) type Callback = Box<dyn FnOnce() + Send>;

struct Queue {
    /// Oldest first, so their cookies never fall.
    waiting: VecDeque<(u64, Callback)>,
    /// The number of the first in `waiting`; numbers are given in order.
    first: u64,
    /// Who runs which number just now.
    running: Vec<(u64, usize)>,
    flushers: Vec<&'static dyn Flush>,
    /// Callbacks that panicked.
    panicked: u64,
}

static QUEUE: Mutex<Queue> =
    Mutex::new(Queue { waiting: VecDeque::new(), first: 0, running: Vec::new(), flushers: Vec::new(), panicked: 0 });

fn lock() -> MutexGuard<'static, Queue> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds a callback for a grace period from now on.
pub(super) fn push(callback: Callback) {
    let mut queue = lock();
    queue.waiting.push_back((GRACE.cookie(), callback));
}

/// The number after the youngest callback's.
pub(super) fn end() -> u64 {
    let queue = lock();
    queue.first + queue.waiting.len() as u64
}

/// What stands at the head of the queue.
pub(super) enum Head {
    /// Nothing.
    Empty,
    /// A callback that waits for this cookie's period.
    Waits(u64),
    /// A callback to be run now, and its number for [`ran`].
    Ready(u64, Callback),
}

/// The oldest callback before `end`, if its grace period is over.
pub(super) fn pop(end: u64) -> Head {
    let mut queue = lock();
    let Some(&(cookie, _)) = queue.waiting.front() else { return Head::Empty };
    if queue.first >= end {
        return Head::Empty;
    }
    if !GRACE.is_over(cookie) {
        return Head::Waits(cookie);
    }
    let number = queue.first;
    // Room first: nothing may fail once the callback is out.
    queue.running.push((number, os::thread::token()));
    queue.first += 1;
    match queue.waiting.pop_front() {
        Some((_, callback)) => Head::Ready(number, callback),
        None => Head::Empty,
    }
}

/// A callback that [`pop`] gave has been run.
pub(super) fn ran(number: u64, panicked: bool) {
    let mut queue = lock();
    queue.running.retain(|&(running, _)| running != number);
    queue.panicked += u64::from(panicked);
}

/// Whether every callback before `end` has been run.
pub(super) fn have_run(end: u64) -> bool {
    let queue = lock();
    let none_running = queue.running.iter().all(|&(number, _)| number >= end);
    queue.first >= end && (none_running || Bug::RcuHastyBarrier.planted())
}

/// Whether the calling thread is inside a callback.
pub(super) fn is_inside() -> bool {
    let me = os::thread::token();
    lock().running.iter().any(|&(_, thread)| thread == me)
}

/// Whether a callback waits for its grace period.
pub(super) fn is_waiting() -> bool {
    !lock().waiting.is_empty()
}

/// Adds something that barriers flush, for good.
pub(super) fn add_flusher(flusher: &'static dyn Flush) {
    lock().flushers.push(flusher);
}

pub(super) fn flushers() -> Vec<&'static dyn Flush> {
    lock().flushers.clone()
}

/// Callbacks queued so far, those that are over, and those of them that panicked.
pub(super) fn counts() -> (u64, u64, u64) {
    let queue = lock();
    let queued = queue.first + queue.waiting.len() as u64;
    (queued, queue.first - queue.running.len() as u64, queue.panicked)
}

thread_local! {
    /// The forking thread's, between prepare and release.
    static HELD: RefCell<Option<MutexGuard<'static, Queue>>> = const { RefCell::new(None) };
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

/// What a vanished thread was running is the parent's; a callback that forked goes on here.
extern "C" fn in_child() {
    let me = os::thread::token();
    let _ = HELD.try_with(|held| {
        if let Some(mut queue) = held.take() {
            queue.running.retain(|&(_, thread)| thread == me);
        }
    });
}
