//! `haybarn.rcu`: read sections, grace periods and callbacks for Python.
//!
//! | file | holds |
//! |---|---|
//! | `section` | `read_lock()`: one guard, one stay inside a section of the thread that entered |
//! | `grace` | `synchronize` and the cookies |
//! | `wait` | waiting that lets go of the GIL and hears Ctrl-C |
//! | `later` | what runs after a grace period: the queue of callbacks, and who runs them |
//! | `kept` | a cache in that queue |
//! | `barrier` | waiting for callbacks, and their end at interpreter exit and fork |
//!
//! Waiting is built here, from cookies that are asked again and again, because the core's own waiting knows nothing of
//! Python's signals.

mod barrier;
mod grace;
mod kept;
mod later;
mod section;
mod wait;

pub(crate) use barrier::{after_fork_in_child, settle};
pub(crate) use kept::Kept;
pub(crate) use later::{Work, ends_are_queued, push};
pub(crate) use section::pay_debts;
pub(crate) use wait::{grace_period, listening};

use pyo3::prelude::*;

/// Adds the functions, and has the service thread stopped before the interpreter goes.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<grace::Cookie>()?;
    module.add_class::<section::ReadSection>()?;
    for (name, function) in [
        ("_rcu_read_lock", wrap_pyfunction!(section::read_lock, module)?),
        ("_rcu_synchronize", wrap_pyfunction!(grace::synchronize, module)?),
        ("_rcu_get_state", wrap_pyfunction!(grace::get_state, module)?),
        ("_rcu_poll_state", wrap_pyfunction!(grace::poll_state, module)?),
        ("_rcu_cond_synchronize", wrap_pyfunction!(grace::cond_synchronize, module)?),
        ("_rcu_call", wrap_pyfunction!(later::call, module)?),
        ("_rcu_barrier", wrap_pyfunction!(barrier::barrier, module)?),
        ("_rcu_stats", wrap_pyfunction!(grace::stats, module)?),
    ] {
        module.add(name, function)?;
    }
    barrier::register(module)
}
