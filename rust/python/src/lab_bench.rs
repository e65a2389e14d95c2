//! The benchmark engine of this wheel: the rows on haybarn and on the system's malloc, without the other peers.
#![forbid(unsafe_code)]

use haybarn_lab::bench::{self, Plan, PlanError};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

/// Name and one line about each row, and the names of the targets.
#[pyfunction]
fn _bench_names() -> (Vec<(&'static str, &'static str)>, Vec<&'static str>) {
    bench::names()
}

/// Runs rows and returns the report as JSON. `launcher` is a command that calls `_bench_child` with the two arguments that
/// follow it and prints what that returns; `progress(row, number, rows)` is called when a row starts.
#[pyfunction]
fn _bench_run(
    py: Python<'_>,
    rows: Vec<String>,
    targets: Vec<String>,
    rounds: usize,
    launcher: Vec<String>,
    progress: Py<PyAny>,
) -> PyResult<String> {
    let plan = Plan { rows, targets, rounds, launcher };
    let mut stopped = None;
    let tell = |row: &str, at: usize, of: usize| {
        Python::attach(|py| match py.check_signals().and_then(|()| progress.call1(py, (row, at, of))) {
            Ok(_) => true,
            Err(error) => {
                stopped = Some(error);
                false
            }
        })
    };
    match py.detach(|| bench::run(&plan, tell)) {
        Ok(report) => Ok(report.json().to_string()),
        Err(PlanError::Usage(why)) => Err(PyValueError::new_err(why)),
        Err(error) => Err(stopped.unwrap_or_else(|| PyRuntimeError::new_err(error.to_string()))),
    }
}

/// One fresh process of the row of 64 threads: what to print.
#[pyfunction]
fn _bench_child(py: Python<'_>, target: &str, pairs: &str) -> PyResult<String> {
    py.detach(|| bench::run_child(target, pairs)).map_err(PyRuntimeError::new_err)
}

/// Runs one row on one target for about `pairs` pairs; whoever calls measures.
#[pyfunction]
fn _bench_iterate(py: Python<'_>, row: &str, target: &str, pairs: u64) -> PyResult<()> {
    py.detach(|| bench::iterate(row, target, pairs)).map_err(PyValueError::new_err)
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(_bench_names, module)?)?;
    module.add_function(wrap_pyfunction!(_bench_run, module)?)?;
    module.add_function(wrap_pyfunction!(_bench_child, module)?)?;
    module.add_function(wrap_pyfunction!(_bench_iterate, module)?)
}
