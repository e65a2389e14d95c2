#![forbid(unsafe_code)]
//! The thread: runs what is due, then sleeps until the next time or the next ring.

use super::forks::keeps_nobody_else_alive;
use super::state::{BELL, REFUSED, Service, Task, lock};
use crate::os;
use core::ffi::c_void;
use core::mem::forget;
use core::ptr::null_mut;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// When each task is to run again.
type Due = Vec<Option<Instant>>;

/// How often a thread that may be the last one looks whether it is.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(500);

/// Starts a thread for what the bell was rung for, if there is none.
pub(super) fn start(service: &mut Service) -> bool {
    if service.running.is_some() || service.stopped {
        return true;
    }
    match os::thread::Thread::start(serve) {
        Ok(thread) => {
            service.started += 1;
            service.running = Some(service.started);
            service.thread = Some(thread);
            // The thread comes to its work when the lock is free.
            BELL.arrive();
            true
        }
        Err(_) => {
            REFUSED.add(1);
            false
        }
    }
}

extern "C" fn serve(_: *mut c_void) -> *mut c_void {
    os::thread::name_self(c"haybarn-service");
    lock().token = os::thread::token();
    let mut due = Due::new();
    while let Some(tasks) = next(&mut due) {
        for (task, due) in tasks.iter().zip(&mut due) {
            if due.is_some_and(|due| due <= Instant::now()) {
                // A task that panics has been reported by the panic hook; it is run again at the next kick. What it threw is not
                // dropped, which might throw again.
                let again = catch_unwind(AssertUnwindSafe(|| task.run())).map_err(forget);
                *due = again.unwrap_or(None).and_then(|time| Instant::now().checked_add(time));
            }
        }
    }
    null_mut()
}

/// Sleeps until something is due, and gives the tasks; `None` when the thread is to end.
fn next(due: &mut Due) -> Option<Vec<&'static dyn Task>> {
    let mut look = FIRST_LOOK;
    loop {
        if BELL.is_to_quit() {
            leave(&mut lock(), due);
            return None;
        }
        if BELL.hear() {
            let tasks = lock().tasks.clone();
            *due = vec![Some(Instant::now()); tasks.len()];
            return Some(tasks);
        }
        let next = due.iter().flatten().min().map(|next| next.saturating_duration_since(Instant::now()));
        let mut time = next;
        if next == Some(Duration::ZERO) {
            return Some(lock().tasks.clone());
        }
        if next.is_none() && keeps_nobody_else_alive() {
            if os::thread::is_last() {
                leave(&mut lock(), due);
                return None;
            }
            time = Some(look);
            look = (2 * look).min(LAST_LOOK);
        }
        if BELL.doze() {
            os::futex::sleep(&BELL, time);
            BELL.rise();
        }
    }
}

/// What some task wanted to come back for is the next thread's.
fn leave(service: &mut Service, due: &Due) {
    (service.running, service.token) = (None, 0);
    BELL.leave();
    if due.iter().any(Option::is_some) {
        BELL.ring();
    }
    if BELL.is_rung() {
        start(service);
    }
}
