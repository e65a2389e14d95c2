//! Callbacks: run once every section that had begun when they were queued has ended.
#![forbid(unsafe_code)]

use super::pending::{self, Flush};
use super::queue::Head;
use super::stall;
use super::wait::{Pause, advance, may_wait, watch_forks};
use crate::error::Error;
use crate::service::{self, Task};
use crate::sync::TryFlag;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Has every [`barrier`] from now on flush `flusher`.
pub fn on_barrier(flusher: &'static dyn Flush) {
    watch_forks();
    pending::add_flusher(flusher);
}

/// How many flushers there are.
#[doc(hidden)]
#[must_use]
pub fn flushers() -> usize {
    pending::flushers().len()
}

/// Runs `callback` after a grace period, on the service thread (or on that of a [`barrier`], which helps). Callbacks are begun
/// in the order in which they were queued; two threads that run them may overlap. From any thread, inside read sections and
/// callbacks too, but not from signal handlers.
///
/// A panic in it is reported by the panic hook and counted; the others run all the same. At the end of the process callbacks
/// that still wait are not run: call [`barrier`] before, if they matter. A forked child has what was queued before the fork
/// too, and runs it with its own first callback or barrier.
///
/// Source: Linux's `call_rcu`.
pub fn call(callback: Box<dyn FnOnce() + Send>) {
    watch_forks();
    pending::push(callback);
    serve();
}

/// Waits until all callbacks that were queued before, by any thread, have been run and all flushers have flushed. The calling
/// thread does what is left to do itself.
///
/// # Errors
/// [`Error::InReadSection`] in a read section, and [`Error::InCallback`] in a callback: both would wait for themselves.
/// [`Error::BadArgument`] for a malformed `HAYBARN_RCU_STALL_SECONDS`. Nothing was done then. A flusher's error, after all
/// others have flushed.
///
/// Source: Linux's `rcu_barrier`.
pub fn barrier() -> Result<(), Error> {
    barrier_while(&|| true).map(|_| ())
}

/// As [`barrier`], for as long as `go_on` says so: it is asked now and then while readers or other threads' callbacks are
/// waited for, some milliseconds apart. True if everything is done, false if it was given up.
///
/// # Errors
/// As [`barrier`]'s.
pub fn barrier_while(go_on: &dyn Fn() -> bool) -> Result<bool, Error> {
    const WHAT: &str = "rcu::barrier";
    may_wait(WHAT)?;
    if pending::is_inside() {
        return Err(Error::InCallback { what: WHAT });
    }
    stall::settle()?;
    watch_forks();
    let end = pending::end();
    let mut pause = Pause::default();
    while !pending::have_run(end) {
        if !run_ready(end) {
            if !go_on() {
                return Ok(false);
            }
            pause.once();
        }
    }
    let mut outcome = Ok(true);
    for flusher in pending::flushers() {
        match flusher.flush(go_on) {
            Ok(true) => {}
            Ok(false) => return outcome.map(|_| false),
            Err(error) => outcome = outcome.and(Err(error)),
        }
    }
    outcome
}

/// Runs callbacks before `end` whose grace period is over, after a try to end it; true if there was one.
fn run_ready(end: u64) -> bool {
    let mut any = false;
    loop {
        match pending::pop(end) {
            Head::Empty => return any,
            Head::Waits(cookie) => {
                if !advance(cookie) {
                    return any;
                }
            }
            Head::Ready(number, callback) => {
                any = true;
                let outcome = catch_unwind(AssertUnwindSafe(callback));
                pending::ran(number, outcome.is_err());
                // What was thrown may throw again where it is dropped.
                if let Err(thrown) = outcome {
                    let _ = catch_unwind(AssertUnwindSafe(|| drop(thrown))).map_err(core::mem::forget);
                }
            }
        }
    }
}

/// The service thread's part.
struct Callbacks;

/// How often a period that readers hold up is looked at.
const AGAIN: Duration = Duration::from_millis(1);

impl Task for Callbacks {
    fn run(&self) -> Option<Duration> {
        run_ready(u64::MAX);
        pending::is_waiting().then_some(AGAIN)
    }
}

fn serve() {
    static REGISTERED: TryFlag = TryFlag::new();
    if !REGISTERED.is_held_by(|mark| mark != 0) && REGISTERED.try_take(1, |_| false) {
        service::register(&Callbacks);
    }
    service::kick();
}
