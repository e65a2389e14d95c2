//! `_core._replay`: the lab's replay for `haybarn replay`. Arguments in, the report as JSON out; no logic.
#![forbid(unsafe_code)]

use crate::errors::{Kind, error, from_core};
use haybarn_lab::replay::{Options, ReplayError, read_only, replay};
use haybarn_lab::trace::ReadError;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

/// Adds the functions to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(_replay, module)?)?;
    module.add_function(wrap_pyfunction!(_replay_read, module)?)
}

/// The report as JSON, the malformed lines as text (the first 1000), and the seconds of reading and of replaying.
#[pyfunction]
#[pyo3(signature = (files, *, design, cpus, backend, nodes, caches, strict))]
#[expect(clippy::too_many_arguments, reason = "keywords of a Python function")]
fn _replay(
    py: Python<'_>,
    files: Vec<PathBuf>,
    design: &str,
    cpus: &str,
    backend: Option<&str>,
    nodes: Option<u32>,
    caches: Option<PathBuf>,
    strict: bool,
) -> PyResult<(String, Vec<String>, (f64, f64))> {
    let options = Options {
        design: option(design)?,
        cpus: option(cpus)?,
        backend: backend.map(option).transpose()?,
        nodes,
        caches,
        strict,
    };
    let done = py.detach(|| replay(&files, &options)).map_err(|error| raise(py, error))?;
    let malformed = done.malformed.iter().map(ToString::to_string).collect();
    Ok((done.report.json(), malformed, (done.seconds.read, done.seconds.replay)))
}

/// Reads and parses files and throws the events away: seconds, and events. For measuring.
#[pyfunction]
fn _replay_read(py: Python<'_>, files: Vec<PathBuf>) -> PyResult<(f64, u64)> {
    let (time, events) = py.detach(|| read_only(&files)).map_err(|error| raise(py, error.into()))?;
    Ok((time.as_secs_f64(), events))
}

fn option<T: FromStr<Err: Display>>(text: &str) -> PyResult<T> {
    text.parse().map_err(|error: T::Err| PyValueError::new_err(error.to_string()))
}

fn raise(py: Python<'_>, failed: ReplayError) -> PyErr {
    let text = failed.to_string();
    match failed {
        ReplayError::Read(ReadError::Io { .. }) | ReplayError::Sysfs(_) => PyOSError::new_err(text),
        ReplayError::Read(ReadError::Malformed(_)) | ReplayError::Usage(_) => PyValueError::new_err(text),
        ReplayError::Allocator(inner) => from_core(py, inner),
        ReplayError::Run(_) => error(py, Kind::Haybarn, text),
    }
}
