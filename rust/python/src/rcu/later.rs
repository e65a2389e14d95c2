//! What runs after a grace period, attached to the interpreter: callbacks, and the ends of caches that frees are pending for.
//!
//! One queue, first in, first out; each entry has the cookie of the grace period that it waits for. One thread at a time runs
//! entries, the **runner**: the service thread, or a barrier where there is no service thread. So the number of entries
//! done says which are.
//!
//! Only the core's queue could be without Python in it; but a callback there that waits for the GIL would hold up every other
//! one, and an interpreter that ends could not take its callbacks out. The service thread looks at `next` without the
//! interpreter, and attaches when there is something to run.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use haybarn::sync::Published;
use haybarn::{rcu, service};
use pyo3::exceptions::{PyKeyboardInterrupt, PyTypeError};
use pyo3::prelude::*;

use super::{Kept, section};
use crate::attach::attached;
use crate::errors::{self, Kind};
use crate::foreign;

/// For so long a runner does entries before the service thread looks after its other work. Not a number of them: to attach
/// a thread and let it go again may cost as much as a thousand entries (free-threaded Python 3.14).
const TURN: Duration = Duration::from_millis(10);
const SHORTEST_WAIT: Duration = Duration::from_micros(200);
const LONGEST_WAIT: Duration = Duration::from_millis(20);

/// What an entry does.
pub(crate) enum Work {
    /// `rcu.call(f)`.
    Call(Py<PyAny>),
    /// The end of a cache that nobody uses any more.
    Finish(Kept),
}

struct Entry {
    cookie: rcu::Cookie,
    work: Work,
}

/// Bit 63 of `runner`: the interpreter is ending, so the service thread may not attach any more.
const CLOSED: u64 = 1 << 63;

pub(super) struct Later {
    /// Locked while attached and for a moment only: then neither a fork nor a stopped thread can find it locked.
    entries: Mutex<VecDeque<Entry>>,
    /// Cookie of the first entry plus 1; 0: there is none. Changed under the lock.
    next: Published,
    /// Entries so far; counted under the lock.
    pushed: Published,
    /// Entries done, each counted after its run.
    done: Published,
    /// The runner's thread (see [`me`]), 0 for none, and `CLOSED`.
    runner: Published,
    /// Of them, callbacks: so far, and done.
    called: Published,
    returned: Published,
    /// Of them, ends of caches that are not done.
    ends: Published,
    /// Turns of the service thread in which nothing was done, since the last in which something was.
    idle: Published,
}

/// The one queue of this process.
pub(super) fn later() -> &'static Later {
    static LATER: OnceLock<Later> = OnceLock::new();
    LATER.get_or_init(|| {
        let zero = || Published::new(0);
        Later {
            entries: Mutex::new(VecDeque::new()),
            next: zero(),
            pushed: zero(),
            done: zero(),
            runner: zero(),
            called: zero(),
            returned: zero(),
            ends: zero(),
            idle: zero(),
        }
    })
}

/// Runs f(), without arguments, after a grace period.
///
/// On the service thread, with the GIL, in the order of the calls; what it raises goes to sys.unraisablehook. A callback may
/// call whatever it likes but barrier(). Returns at once. Raises TypeError for what cannot be called, OutOfMemoryError.
/// Thread-safe. As the kernel's call_rcu().
#[pyfunction]
#[pyo3(signature = (f, /))]
pub(super) fn call(f: &Bound<'_, PyAny>) -> PyResult<()> {
    if !f.is_callable() {
        let given = f.get_type().name().map_or_else(|_| "?".into(), |name| name.to_string());
        return Err(PyTypeError::new_err(format!("f must be callable without arguments, not '{given}'")));
    }
    push(f.py(), Work::Call(f.clone().unbind()))
}

/// Queues work for the end of a grace period that begins now.
pub(crate) fn push(py: Python<'_>, work: Work) -> PyResult<()> {
    let later = later();
    let count = if matches!(work, Work::Call(_)) { &later.called } else { &later.ends };
    count.take(1);
    if !later.append(work) {
        count.take(u64::MAX);
        return Err(errors::error(py, Kind::OutOfMemory, "no memory to queue a callback"));
    }
    service::kick();
    Ok(())
}

/// Whether there are caches that wait for their end, each of which still has its name.
pub(crate) fn ends_are_queued() -> bool {
    later().ends.read() > 0
}

/// Callbacks so far, and those that have returned.
pub(super) fn counts() -> (u64, u64) {
    // In this order: what has returned was called.
    let returned = later().returned.read();
    (later().called.read(), returned)
}

/// A number for this thread that no other has had; not 0.
pub(super) fn me() -> u64 {
    static NEXT: OnceLock<Published> = OnceLock::new();
    std::thread_local! {
        static ME: u64 = NEXT.get_or_init(|| Published::new(1)).take(1);
    }
    ME.with(|&me| me)
}

/// Being the runner; ends with it.
pub(super) struct Running(&'static Later);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.runner.take(me().wrapping_neg());
    }
}

impl Later {
    fn entries(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, entries: &VecDeque<Entry>) {
        self.next.publish(entries.front().map_or(0, |first| first.cookie.0 + 1));
    }

    /// Whether an entry waits, and if so whether its grace period is over. Needs no interpreter.
    pub(super) fn is_ready(&self) -> Option<bool> {
        let next = self.next.read().checked_sub(1)?;
        Some(rcu::poll_state(rcu::Cookie(next)))
    }

    /// Entries so far, of which a barrier waits for the end.
    pub(super) fn pushed(&self) -> u64 {
        self.pushed.read()
    }

    /// Whether that many entries have been done. Differences, because counts may wrap.
    pub(super) fn has_done(&self, entries: u64) -> bool {
        self.done.read().wrapping_sub(entries) as i64 >= 0
    }

    /// Whether this thread is running an entry at this moment.
    pub(super) fn is_my_turn(&self) -> bool {
        self.runner.read() & !CLOSED == me()
    }

    /// Whether a thread is the runner.
    pub(super) fn is_running(&self) -> bool {
        self.runner.read() & !CLOSED != 0
    }

    /// Becomes the runner unless there is one. The service thread (`when_closed` false) may not once the queue is closed.
    pub(super) fn try_run(&'static self, when_closed: bool) -> Option<Running> {
        let seen = self.runner.read();
        let free = seen == 0 || (seen == CLOSED && when_closed);
        // Not `then_some`: a turn that nobody has must not be dropped.
        if free && self.runner.publish_if(seen, seen | me()).is_ok() { Some(Running(self)) } else { None }
    }

    /// Keeps the service thread out from now on.
    pub(super) fn close(&self) {
        self.change_runner(|seen| seen | CLOSED);
    }

    /// Lets the service thread in again (a new interpreter in the same process).
    pub(super) fn open(&self) {
        self.change_runner(|seen| seen & !CLOSED);
    }

    /// In the child of a fork: the runner stayed in the parent, unless it is the thread that forked. What it was at is done
    /// there.
    pub(super) fn forget_runner(&self) {
        if !self.is_my_turn() {
            self.change_runner(|seen| seen & CLOSED);
            let waiting = self.entries().len() as u64;
            self.done.publish(self.pushed.read().wrapping_sub(waiting));
        }
    }

    fn change_runner(&self, change: impl Fn(u64) -> u64) {
        loop {
            let seen = self.runner.read();
            if self.runner.publish_if(seen, change(seen)).is_ok() {
                return;
            }
        }
    }

    /// False: there is no memory for another entry.
    fn append(&self, work: Work) -> bool {
        // Before the lock is taken: what is unpublished by now is.
        let cookie = rcu::get_state();
        let mut entries = self.entries();
        if entries.try_reserve(1).is_err() {
            return false;
        }
        self.pushed.take(1);
        entries.push_back(Entry { cookie, work });
        self.announce(&entries);
        true
    }

    /// Runs entries that are ready, for a while. `helps`: by a thread that waits, for which a KeyboardInterrupt on the main thread is
    /// Ctrl-C, which came while a callback ran: then that is the error, and the rest stays queued. Whether any got done.
    pub(super) fn run(&self, py: Python<'_>, _turn: &Running, helps: bool) -> PyResult<bool> {
        let mut any = false;
        let end = Instant::now() + TURN;
        while let Some(work) = self.take_ready() {
            let is_call = matches!(work, Work::Call(_));
            let outcome = work.run(py);
            match (&outcome, is_call) {
                (_, true) => self.returned.take(1),
                (Ok(Some(_)), false) => 0,
                (_, false) => self.ends.take(u64::MAX),
            };
            match outcome {
                // Before this one is done, so that a barrier waits for the one that follows it.
                Ok(Some(again)) => drop(self.append(again)),
                Ok(None) => any = true,
                Err((error, of)) => {
                    any = true;
                    if helps && error.is_instance_of::<PyKeyboardInterrupt>(py) && is_main_thread(py) {
                        self.done.take(1);
                        return Err(error);
                    }
                    let of = of.map(|of| of.into_bound(py));
                    foreign::unraisable(py, error, of.as_ref());
                    of.map(foreign::forget);
                }
            }
            self.done.take(1);
            if Instant::now() >= end {
                break;
            }
        }
        Ok(any)
    }

    fn take_ready(&self) -> Option<Work> {
        let mut entries = self.entries();
        if !rcu::poll_state(entries.front()?.cookie) {
            return None;
        }
        let entry = entries.pop_front();
        self.announce(&entries);
        entry.map(|entry| entry.work)
    }
}

impl Work {
    /// What is left to do later, or an error and what it is about.
    #[allow(clippy::type_complexity, reason = "said once, read once")]
    fn run(self, py: Python<'_>) -> Result<Option<Self>, (PyErr, Option<Py<PyAny>>)> {
        match self {
            Self::Call(f) => match foreign::call(f.bind(py)) {
                Ok(result) => {
                    foreign::forget(result);
                    foreign::forget(f.into_bound(py));
                    Ok(None)
                }
                Err(error) => Err((error, Some(f))),
            },
            Self::Finish(cache) => match cache.finish(py) {
                Ok(true) => {
                    let object = cache.object(py).into_bound(py);
                    drop(cache);
                    foreign::forget(object);
                    Ok(None)
                }
                Ok(false) => Ok(Some(Self::Finish(cache))),
                Err(error) => Err((error, Some(cache.object(py)))),
            },
        }
    }
}

fn is_main_thread(py: Python<'_>) -> bool {
    let ask = || {
        let threading = py.import("threading")?;
        let main = foreign::call(&threading.getattr("main_thread")?)?.getattr("ident")?.extract::<u64>()?;
        Ok::<_, PyErr>(main == threading.getattr("get_ident")?.call0()?.extract::<u64>()?)
    };
    ask().unwrap_or(false)
}

/// The service thread's part.
pub(super) struct Service;

impl service::Task for Service {
    fn run(&self) -> Option<Duration> {
        // Guards that callbacks entered here and that died elsewhere.
        section::pay_debts();
        let later = later();
        let ready = later.is_ready()?;
        let again = || {
            let idle = later.idle.take(1).min(16) as u32;
            Some(LONGEST_WAIT.min(SHORTEST_WAIT * (1 << idle)))
        };
        // A turn before the interpreter: who ends the interpreter has to know that this thread is on its way to it.
        let Some(turn) = ready.then(|| later.try_run(false)).flatten() else { return again() };
        let ran = attached(|py| later.run(py, &turn, false));
        drop(turn);
        match ran {
            // No interpreter: nothing will ever run on this thread.
            None => None,
            Some(Ok(true)) => {
                later.idle.publish(0);
                later.is_ready().map(|_| Duration::ZERO)
            }
            Some(_) => again(),
        }
    }
}
