//! The service thread: one thread for all that must happen later (callbacks after a grace period, aged sheaves, deferred
//! destructors).
//!
//! It is started when something needs it first, sleeps without any wake-up while there is nothing to do, and is ended by
//! [`stop`]. Nothing depends on it: every call that waits (a barrier, a cache's end) does the work itself if it has to. A
//! forked child has no service thread; the first call there that needs one starts one. Signals are blocked in it, so it
//! never runs a program's handlers.
//!
//! The kernel has workqueues and one thread per kind of RCU for the same.
#![forbid(unsafe_code)]

use crate::os;
use crate::os::fork::Hooks;
use crate::sync::{Counter, Gong};
use core::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// Work that is done now and then.
#[doc(hidden)]
pub trait Task: Sync {
    /// Does what there is to do without waiting for anybody, and says when to come again: after this time, or (`None`) when
    /// the service is kicked. No lock of the library is held around it; it may be run by one thread at a time only.
    fn run(&self) -> Option<Duration>;
}

struct Service {
    tasks: Vec<&'static dyn Task>,
    /// Until somebody joins it.
    thread: Option<JoinHandle<()>>,
    /// From the thread's start to its end: how many were started so far.
    running: Option<u64>,
    started: u64,
    /// The thread's own, once it has come to its work.
    token: usize,
    /// The thread is to end.
    quit: bool,
    /// No thread is to be started.
    stopped: bool,
}

/// Never held while a task runs or a thread is waited for. Forks take it.
static SERVICE: Mutex<Service> = Mutex::new(Service {
    tasks: Vec::new(),
    thread: None,
    running: None,
    started: 0,
    token: 0,
    quit: false,
    stopped: false,
});

/// Struck under the lock, after the gong.
static WAKE: Condvar = Condvar::new();

/// Rung by a kick until the thread has heard it.
static GONG: Gong = Gong::new();

/// Times that the system refused a thread.
static REFUSED: Counter = Counter::new();

fn lock() -> MutexGuard<'static, Service> {
    SERVICE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds a task for good. Kick to have it run.
#[doc(hidden)]
pub fn register(task: &'static dyn Task) {
    watch_forks();
    lock().tasks.push(task);
}

/// Has every task run soon, by a thread that is started if there is none. Where the system has no thread to give, the next
/// kick tries again, and barriers do the work themselves meanwhile: false then. While the service is stopped it is true: who
/// allows it again has the tasks run.
#[doc(hidden)]
pub fn kick() -> bool {
    // Rung already: who rang it has seen to the thread, or is about to.
    if !GONG.ring() {
        return true;
    }
    watch_forks();
    wake(&mut lock())
}

fn wake(service: &mut Service) -> bool {
    if service.running.is_some() {
        WAKE.notify_all();
    } else if !service.stopped {
        match os::thread::without_signals(|| Builder::new().name("haybarn-service".to_owned()).spawn(serve)) {
            Ok(thread) => {
                service.started += 1;
                service.running = Some(service.started);
                service.thread = Some(thread);
            }
            Err(_) => {
                REFUSED.add(1);
                GONG.hear();
                return false;
            }
        }
    }
    true
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
        service.quit = true;
        WAKE.notify_all();
        if service.token == os::thread::token() {
            return;
        }
        (service.thread.take(), service.running)
    };
    match thread {
        // The thread catches what tasks throw.
        Some(thread) => drop(thread.join()),
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
    if GONG.is_rung() && service.running.is_none() {
        wake(&mut service);
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

/// The thread: runs what is due, then sleeps until the next time or the next kick.
fn serve() {
    lock().token = os::thread::token();
    let mut due: Vec<Option<Instant>> = Vec::new();
    loop {
        let Some(tasks) = next(&mut due) else { return };
        for (task, due) in tasks.iter().zip(&mut due) {
            if due.is_some_and(|due| due <= Instant::now()) {
                // A task that panics has been reported by the panic hook; it is run again at the next kick.
                let again = catch_unwind(AssertUnwindSafe(|| task.run())).unwrap_or(None);
                *due = again.map(|time| Instant::now() + time);
            }
        }
    }
}

/// Sleeps until something is due, and gives the tasks; `None` when the thread is to end.
fn next(due: &mut Vec<Option<Instant>>) -> Option<Vec<&'static dyn Task>> {
    let mut service = lock();
    loop {
        if service.quit {
            (service.running, service.token, service.quit) = (None, 0, false);
            // What some task wanted to come back for is the next thread's.
            if due.iter().any(Option::is_some) {
                GONG.ring();
            }
            if GONG.is_rung() {
                wake(&mut service);
            }
            return None;
        }
        if GONG.hear() {
            *due = vec![Some(Instant::now()); service.tasks.len()];
            break;
        }
        let next = due.iter().flatten().min().map(|next| next.saturating_duration_since(Instant::now()));
        service = match next {
            Some(Duration::ZERO) => break,
            Some(time) => WAKE.wait_timeout(service, time).unwrap_or_else(PoisonError::into_inner).0,
            None => WAKE.wait(service).unwrap_or_else(PoisonError::into_inner),
        };
    }
    Some(service.tasks.clone())
}

thread_local! {
    /// The forking thread's, between prepare and release.
    static HELD: RefCell<Option<MutexGuard<'static, Service>>> = const { RefCell::new(None) };
}

static HOOKS: Hooks = Hooks::new(prepare, in_parent, in_child);

/// Watches for forks from now on.
pub(crate) fn watch_forks() {
    HOOKS.watch();
}

extern "C" fn prepare() {
    // A thread whose locals are gone is ending; a fork from there goes without the lock.
    let _ = HELD.try_with(|held| held.replace(Some(lock())));
}

extern "C" fn in_parent() {
    let _ = HELD.try_with(RefCell::take);
}

extern "C" fn in_child() {
    let held = HELD.try_with(RefCell::take).ok().flatten();
    if let Some(mut service) = held {
        // A task that forks goes on in the child, as the service thread that it is.
        if service.running.is_some() && service.token != os::thread::token() {
            // The handle must not be dropped, which would touch a thread that is not there.
            core::mem::forget(service.thread.take());
            (service.running, service.token, service.quit) = (None, 0, false);
        }
        // What was rung for has not been heard here: the next kick has to find it silent.
        GONG.hear();
    }
}
