//! Waiting for callbacks; what becomes of them at fork and at interpreter exit.
#![forbid(unsafe_code)]

use std::sync::Once;
use std::time::{Duration, Instant};

use haybarn::{rcu, service};
use pyo3::prelude::*;

use super::later::{self, later};
use super::wait;
use crate::errors::{self, Kind};
use crate::lifetimes::inside;
use crate::object;

/// For callbacks that can still run when the interpreter ends, and as long again for one that is running.
const AT_EXIT: Duration = Duration::from_secs(1);

/// Waits until every callback queued before has run and every object freed by free_rcu before, of any cache, can be reused.
///
/// Other threads run meanwhile, and Ctrl-C ends the waiting. Raises ReadSectionError inside a read section of the calling
/// thread, ReentryError inside a callback (which it would wait for). Thread-safe. As the kernel's rcu_barrier() and
/// kvfree_rcu_barrier().
#[pyfunction]
pub(super) fn barrier(py: Python<'_>) -> PyResult<()> {
    wait::may_wait(py, "barrier()")?;
    if later().is_my_turn() {
        let text = "barrier() inside a callback of rcu.call() would wait for that callback";
        return Err(errors::error(py, Kind::Reentry, text));
    }
    wait_for_all(py)
}

/// [`barrier`] for a call that would rather wait, where it may.
pub(crate) fn settle(py: Python<'_>) -> PyResult<()> {
    if rcu::is_reading() || later().is_my_turn() || inside::must_not_wait() { Ok(()) } else { wait_for_all(py) }
}

fn wait_for_all(py: Python<'_>) -> PyResult<()> {
    object::hand_over_parked(py);
    wait::listening(py, "barrier()", |go_on| rcu::barrier_while(go_on))?;
    // Counted now, so that caches whose ends were put off, because frees were pending, are waited for again.
    done(py, later().pushed())
}

/// Waits until so many entries are done, running them here if the service thread does not.
fn done(py: Python<'_>, pushed: u64) -> PyResult<()> {
    let later = later();
    while !later.has_done(pushed) {
        if !service::is_running()
            && later.is_ready() == Some(true)
            && let Some(turn) = later.try_run(true)
        {
            later.run(py, &turn, true)?;
            continue;
        }
        service::kick();
        let step = || {
            later.has_done(pushed) || (!service::is_running() && !later.is_running() && later.is_ready() != Some(false))
        };
        wait::until(py, "barrier()", step)?;
    }
    Ok(())
}

/// Run by `atexit`, while threads still run: callbacks that can run do, then the service thread ends.
#[pyfunction]
fn _rcu_at_exit(py: Python<'_>) -> PyResult<()> {
    let ran = run_the_last(py);
    let stopped = stop(py);
    ran.and(stopped)
}

fn run_the_last(py: Python<'_>) -> PyResult<()> {
    let later = later();
    let end = Instant::now() + AT_EXIT;
    let waiting = || {
        let (called, returned) = later::counts();
        called != returned
    };
    while waiting() && !later.is_my_turn() && Instant::now() < end {
        if later.is_ready() == Some(true)
            && let Some(turn) = later.try_run(true)
        {
            later.run(py, &turn, true)?;
            continue;
        }
        py.detach(|| std::thread::sleep(Duration::from_millis(1)));
        py.check_signals()?;
    }
    Ok(())
}

/// Keeps the service thread from the interpreter and ends it; one that is stuck in a callback is left to hang.
fn stop(py: Python<'_>) -> PyResult<()> {
    let later = later();
    later.close();
    let end = Instant::now() + AT_EXIT;
    while later.is_running() && !later.is_my_turn() {
        if Instant::now() > end {
            return Ok(());
        }
        py.detach(|| std::thread::sleep(Duration::from_millis(1)));
        py.check_signals()?;
    }
    py.detach(service::stop);
    Ok(())
}

/// Goes with the module, for an interpreter whose `atexit` was emptied: only this thread runs Python by then.
#[pyclass(frozen, module = "haybarn._core")]
struct Fallback;

impl Drop for Fallback {
    fn drop(&mut self) {
        later().close();
        if !later().is_running() {
            service::stop();
        }
    }
}

/// In the child of a fork: the service thread stayed in the parent.
pub(crate) fn after_fork_in_child() {
    let later = later();
    later.forget_runner();
    if later.is_ready().is_some() {
        service::kick();
    }
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    // Made now: what makes them later may be a thread without an interpreter.
    later().open();
    service::allow();
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| service::register(&later::Service));
    py.import("atexit")?.call_method1("register", (wrap_pyfunction!(_rcu_at_exit, module)?,))?;
    module.add("_rcu_fallback", Py::new(py, Fallback)?)
}
