//! The service thread: one thread for all that must happen later (callbacks after a grace period, aged sheaves, deferred
//! destructors).
//!
//! It is started when something needs it first, sleeps without any wake-up while there is nothing to do, and is ended by
//! [`stop`]. Nothing depends on it: every call that waits (a barrier, a cache's end) does the work itself if it has to. A
//! forked child has no service thread; the first call there that needs one starts one. Signals are blocked in it, so it
//! never runs a program's handlers.
//!
//! It keeps no process alive: a child that was forked by another thread than the parent's first one ends with the last thread of its
//! own (`thread`).
//!
//! | file | idea |
//! |---|---|
//! | `mod` | asking for work, stopping, allowing |
//! | `thread` | the thread: starting it, what is due, sleeping, leaving |
//! | `state` | what all of them share |
//! | `forks` | what becomes of all that in a forked child |
//!
//! The kernel has workqueues and one thread per kind of RCU for the same.
#![forbid(unsafe_code)]

mod forks;
mod state;
mod thread;

use crate::os;
use crate::sync::Rung;
use state::{BELL, REFUSED, lock};
use std::time::Duration;
use thread::start;

pub(crate) use forks::watch as watch_forks;
pub use state::Task;

/// Adds a task for good. Kick to have it run.
#[doc(hidden)]
pub fn register(task: &'static dyn Task) {
    watch_forks();
    lock().tasks.push(task);
}

/// Has every task run soon, by a thread that is started if there is none; takes a lock only then. Where the system has no thread
/// to give, the next kick tries again, and barriers do the work themselves meanwhile: false then. While the service is stopped
/// it is true: who allows it again has the tasks run.
#[doc(hidden)]
pub fn kick() -> bool {
    watch_forks();
    wake() || start(&mut lock())
}

/// As [`kick`], for signal handlers too: false where there is no thread. The next kick starts one, which runs every task.
pub(crate) fn wake() -> bool {
    match BELL.ring() {
        Rung::Coming => true,
        Rung::Asleep => {
            os::futex::wake(&BELL);
            true
        }
        Rung::Nobody => false,
    }
}

/// Runs `work` while no thread of the process can fork; `work` may not ask for the service.
#[doc(hidden)]
pub fn between_forks<T>(work: impl FnOnce() -> T) -> T {
    watch_forks();
    let _service = lock();
    work()
}

/// Ends the service thread and waits until it has: a task that it is at is done first. From then on nothing starts it again
/// until [`allow`]. Called on the thread itself (by a callback) it does not wait; the thread ends after that callback.
///
/// Call it before what callbacks need goes away (an interpreter, a logger). Callbacks that are queued stay queued;
/// [`crate::rcu::barrier`] runs them on the caller's thread.
pub fn stop() {
    let (thread, running) = {
        let mut service = lock();
        service.stopped = true;
        if service.running.is_none() {
            return;
        }
        if BELL.tell_to_quit() {
            os::futex::wake(&BELL);
        }
        if service.token == os::thread::token() {
            return;
        }
        (service.thread.take(), service.running)
    };
    match thread {
        // The thread catches what tasks throw.
        Some(thread) => thread.join(),
        // Another caller joins it.
        None => {
            while lock().running == running {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
    }
}

/// Takes a [`stop`] back: the service starts again at once if somebody needed it meanwhile, else when somebody does.
pub fn allow() {
    watch_forks();
    let mut service = lock();
    service.stopped = false;
    // A thread that is about to end looks for itself.
    if BELL.is_rung() {
        start(&mut service);
    }
}

/// True while the service thread of this process is there.
#[must_use]
pub fn is_running() -> bool {
    lock().running.is_some()
}

/// Times that the system had no thread to give to the service.
pub(crate) fn refused() -> u64 {
    REFUSED.get()
}
