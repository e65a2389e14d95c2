//! The lab's stress scenarios for Python, which brings the threads: see `haybarn.lab.stress`.
#![forbid(unsafe_code)]

use haybarn_lab::oracle::Claims;
use haybarn_lab::oracle::subject::Counter;
use haybarn_lab::stress::{Field, FieldError, HaybarnField, Limits, Run, SCENARIOS, scenario};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::Arc;
use std::time::Duration;

use crate::errors::{self, Kind};

/// An arena for the scenarios of a campaign.
#[pyclass(frozen, module = "haybarn._core")]
struct StressField {
    field: Arc<dyn Field>,
    claims: Arc<Claims>,
    threads: u32,
}

#[pymethods]
impl StressField {
    #[new]
    #[pyo3(signature = (backend, threads, form = None))]
    fn new(py: Python<'_>, backend: Option<&str>, threads: u32, form: Option<&str>) -> PyResult<Self> {
        let made = py.detach(|| HaybarnField::new(backend, threads, form));
        let field = made.map_err(|error| match error {
            FieldError::Arena(error) => errors::from_core(py, error),
            FieldError::NoSuchBackend(_) | FieldError::NoSuchForm(_) | FieldError::Faulty(_) => {
                errors::error(py, Kind::BadArgument, error.to_string())
            }
        })?;
        Ok(Self { field: Arc::new(field), claims: Arc::new(Claims::new()), threads })
    }

    /// The CPU backend that the arena runs on.
    #[getter]
    fn backend(&self) -> &str {
        self.field.backend()
    }

    #[getter]
    fn threads(&self) -> u32 {
        self.threads
    }
}

/// One scenario under way.
#[pyclass(frozen, module = "haybarn._core")]
struct StressRun(Run);

#[pymethods]
impl StressRun {
    #[new]
    #[pyo3(signature = (field, scenario, *, seconds, seed, ops = None, long_campaign = false, inject = 0.0))]
    #[expect(clippy::too_many_arguments, reason = "keywords of a Python class")]
    fn new(
        py: Python<'_>,
        field: &StressField,
        scenario: &str,
        seconds: f64,
        seed: u64,
        ops: Option<u64>,
        long_campaign: bool,
        inject: f64,
    ) -> PyResult<Self> {
        let bad = |text: String| errors::error(py, Kind::BadArgument, text);
        let chosen = self::scenario(scenario).ok_or_else(|| bad(format!("scenario: there is no {scenario:?}")))?;
        let time = Duration::try_from_secs_f64(seconds).map_err(|error| bad(format!("seconds: {seconds}: {error}")))?;
        let limits = Limits { threads: field.threads, time, ops, seed, long_campaign, inject };
        let (under_test, claims) = (field.field.clone(), field.claims.clone());
        py.detach(|| Run::new(chosen, under_test, claims, limits, true)).map(Self).map_err(bad)
    }

    /// Does the part of thread `index`; returns when the time is up. Other Python threads run meanwhile.
    fn thread(&self, py: Python<'_>, index: u32) -> PyResult<()> {
        py.detach(|| self.0.thread(index)).map_err(|text| errors::error(py, Kind::BadArgument, text))
    }

    /// Tells all threads to stop before their time.
    fn stop(&self) {
        self.0.stop();
    }

    /// Allocations and frees so far.
    #[getter]
    fn ops(&self) -> u64 {
        self.0.ops()
    }

    /// Violations so far.
    #[getter]
    fn violations(&self) -> u64 {
        self.0.violations()
    }

    /// Checks conservation, ends the caches and reports. Once, after all threads have returned.
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let report = py.detach(|| self.0.finish()).map_err(|text| errors::error(py, Kind::BadArgument, text))?;
        let counters = PyDict::new(py);
        for counter in Counter::ALL {
            counters.set_item(counter.name(), report.counters.get(counter))?;
        }
        let dict = PyDict::new(py);
        dict.set_item("ops", report.ops)?;
        dict.set_item("seconds", report.seconds)?;
        dict.set_item("violations", report.violations)?;
        dict.set_item("examples", report.examples)?;
        dict.set_item("counters", counters)?;
        dict.set_item("missing_counters", report.missing)?;
        dict.set_item("faults", report.faults)?;
        dict.set_item("refused", report.refused)?;
        Ok(dict)
    }
}

/// The table of scenarios: name -> what it does, and by backend the counters that it must move; `among` with
/// two threads or more, `races` only in long campaigns.
#[pyfunction]
fn stress_scenarios(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let names = |counters: &[Counter]| counters.iter().map(|counter| counter.name()).collect::<Vec<_>>();
    let table = PyDict::new(py);
    for scenario in SCENARIOS {
        let row = PyDict::new(py);
        row.set_item("about", scenario.about)?;
        for backend in ["rseq", "locked", "virtual"] {
            row.set_item(backend, names(scenario.needs.on(backend)))?;
        }
        row.set_item("among", names(scenario.needs.among))?;
        row.set_item("races", names(scenario.needs.races))?;
        row.set_item("sampled", names(scenario.needs.sampled))?;
        table.set_item(scenario.name, row)?;
    }
    Ok(table)
}

/// Adds the lab's stress to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<StressField>()?;
    module.add_class::<StressRun>()?;
    module.add_function(wrap_pyfunction!(stress_scenarios, module)?)
}
