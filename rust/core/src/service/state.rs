#![forbid(unsafe_code)]
//! What the service consists of.

use crate::os::thread::Thread;
use crate::sync::{Bell, Counter};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Work that is done now and then.
#[doc(hidden)]
pub trait Task: Sync {
    /// Does what there is to do without waiting for anybody, and says when to come again: after this time, or (`None`) when
    /// the service is kicked. No lock of the library is held around it; it may be run by one thread at a time only.
    fn run(&self) -> Option<Duration>;
}

pub(super) struct Service {
    pub tasks: Vec<&'static dyn Task>,
    /// Until somebody joins it.
    pub thread: Option<Thread>,
    /// From the thread's start to its end: how many were started so far.
    pub running: Option<u64>,
    pub started: u64,
    /// The thread's own, once it has come to its work.
    pub token: usize,
    /// No thread is to be started.
    pub stopped: bool,
}

/// Never held while a task runs or a thread is waited for. Forks take it.
static SERVICE: Mutex<Service> =
    Mutex::new(Service { tasks: Vec::new(), thread: None, running: None, started: 0, token: 0, stopped: false });

/// Where the thread sleeps. Rung by a kick until the thread has heard it.
pub(super) static BELL: Bell = Bell::new();

/// Times that the system refused a thread.
pub(super) static REFUSED: Counter = Counter::new();

pub(super) fn lock() -> MutexGuard<'static, Service> {
    SERVICE.lock().unwrap_or_else(PoisonError::into_inner)
}
