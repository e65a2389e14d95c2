//! Grace periods: waiting for one, and cookies that stand for one.
#![forbid(unsafe_code)]

use haybarn::rcu;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::{later, section, wait};

/// A grace period that may still have to come; see the stub for its Python documentation.
#[pyclass(frozen, eq, hash, immutable_type, module = "haybarn.rcu", skip_from_py_object)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Cookie(u64);

#[pymethods]
impl Cookie {
    fn __repr__(&self) -> String {
        format!("<haybarn.rcu.Cookie {}>", self.0)
    }
}

/// Waits until every read section that is open now, on any thread, has been left.
///
/// Other threads run meanwhile, and Ctrl-C ends the waiting. Raises ReadSectionError inside a read section of the calling
/// thread. Thread-safe. As the kernel's synchronize_rcu().
#[pyfunction]
pub(super) fn synchronize(py: Python<'_>) -> PyResult<()> {
    wait::grace_period(py, "synchronize()")
}

/// A cookie for the grace period that a synchronize() called now would wait for.
///
/// Never waits. Thread-safe. As the kernel's get_state_synchronize_rcu().
#[pyfunction]
pub(super) fn get_state() -> Cookie {
    Cookie(rcu::get_state().0)
}

/// Whether the cookie's grace period is over.
///
/// Never waits, but moves things on: asked again and again, it becomes true once the readers have left. Allowed inside a read
/// section, where it stays false for a cookie taken there. Raises TypeError for what is not a Cookie. Thread-safe. As the
/// kernel's poll_state_synchronize_rcu().
#[pyfunction]
#[pyo3(signature = (cookie, /))]
pub(super) fn poll_state(cookie: &Bound<'_, PyAny>) -> PyResult<bool> {
    let (py, cookie) = (cookie.py(), rcu::Cookie(of(cookie)?.get().0));
    section::pay_debts();
    Ok(py.detach(|| rcu::poll_state(cookie)))
}

/// Waits until the cookie's grace period is over; not at all if it is.
///
/// Other threads run meanwhile, and Ctrl-C ends the waiting. Raises ReadSectionError if it would wait inside a read section of
/// the calling thread, TypeError for what is not a Cookie. Thread-safe. As the kernel's cond_synchronize_rcu().
#[pyfunction]
#[pyo3(signature = (cookie, /))]
pub(super) fn cond_synchronize(py: Python<'_>, cookie: &Bound<'_, PyAny>) -> PyResult<()> {
    let cookie = rcu::Cookie(of(cookie)?.get().0);
    section::pay_debts();
    if py.detach(|| rcu::poll_state(cookie)) {
        return Ok(());
    }
    wait::may_wait(py, "cond_synchronize()")?;
    wait::until(py, "cond_synchronize()", move || rcu::poll_state(cookie))
}

fn of<'a, 'py>(cookie: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, Cookie>> {
    cookie.cast::<Cookie>().map_err(|_| {
        let given = cookie.get_type().name().map_or_else(|_| "?".into(), |name| name.to_string());
        pyo3::exceptions::PyTypeError::new_err(format!(
            "cookie must be what haybarn.rcu.get_state() gave, a Cookie, not '{given}'"
        ))
    })
}

/// Counters of this process, as a dict: `grace_periods` that ended, `stalls` reported, `callbacks_queued` and `callbacks_run`
/// of call() and of Rust code, `records` of threads that have been readers, and what went wrong for want of memory or threads.
///
/// Each is exact when nothing is under way. Thread-safe.
#[pyfunction]
pub(super) fn stats(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    let (called, returned) = later::counts();
    let core = rcu::stats();
    for (name, value, _) in core.rows() {
        let of_python = match name {
            "callbacks_queued" => called,
            "callbacks_run" => returned,
            _ => 0,
        };
        dict.set_item(name, value + of_python)?;
    }
    Ok(dict)
}
