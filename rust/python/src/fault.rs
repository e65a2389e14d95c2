//! Failures on demand for Python: the context managers of `haybarn.fault_inject`.
#![forbid(unsafe_code)]

use std::sync::{Mutex, MutexGuard, PoisonError};

use haybarn::fault::{self, FaultAttr, FaultGuard};
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::args::{Args, Given};
use crate::cache::KmemCache;
use crate::errors;

/// What a fault makes fail.
enum Kind {
    PageAlloc,
    Slab(Option<Py<KmemCache>>),
}

enum State {
    /// Not on; so many requests failed the last time that it was.
    Off(u64),
    /// A thread starts or ends it.
    Changing,
    On(FaultGuard),
}

/// A fault that is on inside of `with`: made by fail_page_alloc and fail_slab.
#[pyclass(frozen, immutable_type, module = "haybarn.fault_inject")]
struct FaultInjection {
    kind: Kind,
    attr: FaultAttr,
    /// Locked for a look or a change, never across a wait.
    state: Mutex<State>,
}

impl FaultInjection {
    fn new(kind: Kind, attr: FaultAttr) -> Self {
        Self { kind, attr, state: Mutex::new(State::Off(0)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, py: Python<'_>) -> PyResult<FaultGuard> {
        let attr = self.attr;
        let started = match &self.kind {
            Kind::PageAlloc => fault::fail_page_alloc(attr),
            Kind::Slab(None) => py.detach(|| fault::fail_slab(None, attr)),
            Kind::Slab(Some(cache)) => {
                let cache = cache.get();
                let begun = cache.inside(py, |raw| py.detach(|| fault::fail_slab(Some(raw), attr)))?;
                begun.map_err(|error| error.of_cache(&cache.name))
            }
        };
        started.map_err(|error| errors::from_core(py, error))
    }
}

#[pymethods]
impl FaultInjection {
    fn __enter__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        let (py, me) = (this.py(), this.get());
        let before = {
            let mut state = me.state();
            let State::Off(before) = *state else {
                let text = format!("{} is on already: call {} again for one more", me.__repr__(), me.name());
                return Err(PyRuntimeError::new_err(text));
            };
            *state = State::Changing;
            before
        };
        let started = me.start(py);
        let (state, result) = match started {
            Ok(guard) => (State::On(guard), Ok(this.clone())),
            Err(error) => (State::Off(before), Err(error)),
        };
        *me.state() = state;
        result
    }

    #[pyo3(signature = (*_exc_info))]
    fn __exit__(&self, py: Python<'_>, _exc_info: &Bound<'_, pyo3::types::PyTuple>) {
        let guard = {
            let mut state = self.state();
            match std::mem::replace(&mut *state, State::Changing) {
                State::On(guard) => guard,
                other => {
                    *state = other;
                    return;
                }
            }
        };
        let fired = py.detach(|| guard.end());
        *self.state() = State::Off(fired);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match &self.kind {
            Kind::Slab(cache) => visit.call(cache),
            Kind::PageAlloc => Ok(()),
        }
    }

    /// Requests that have failed: since the block was entered, or once it is left, in all of it.
    #[getter]
    fn fired(&self) -> u64 {
        match &*self.state() {
            State::On(guard) => guard.fired(),
            State::Off(fired) => *fired,
            State::Changing => 0,
        }
    }

    /// Whether the fault is on.
    #[getter]
    fn active(&self) -> bool {
        matches!(&*self.state(), State::On(_))
    }

    fn __repr__(&self) -> String {
        let FaultAttr { probability, interval, space, times, this_thread } = self.attr;
        let cache = match &self.kind {
            Kind::Slab(Some(cache)) => format!("cache={:?}, ", cache.get().name),
            _ => String::new(),
        };
        let times = times.map_or_else(|| "None".to_owned(), |times| times.to_string());
        let this_thread = if this_thread { "True" } else { "False" };
        format!(
            "<{}({cache}probability={probability:?}, interval={interval}, times={times}, space={space}, \
             this_thread={this_thread})>",
            self.name()
        )
    }
}

impl FaultInjection {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::PageAlloc => "fail_page_alloc",
            Kind::Slab(_) => "fail_slab",
        }
    }
}

fn attr(
    py: Python<'_>,
    probability: &Given<'_>,
    interval: &Given<'_>,
    times: Option<&Bound<'_, PyAny>>,
    space: &Given<'_>,
    this_thread: bool,
) -> PyResult<FaultAttr> {
    let args = Args { py, cache: "" };
    let attr = FaultAttr {
        probability: args.probability(probability)?,
        interval: args.interval(interval)?,
        space: args.space(space)?,
        times: args.times(times)?,
        this_thread,
    };
    attr.check().map_err(|error| errors::from_core(py, error))?;
    Ok(attr)
}

/// Makes requests for memory fail inside of `with`: for pages, for metadata (sheaves, slab descriptors, caches) and for the
/// Python objects around slab objects. Objects that lie free in sheaves and slabs are still given out.
///
/// probability: from 0 to 1. interval: only each so-many-th request may fail. times: failures after which no more come; None
/// is no end. space: bytes granted before the first failure. this_thread: only requests of the thread that enters the block.
///
/// Several may be on at once; each counts in its own `fired`. Source: fail_page_alloc (mm/fail_page_alloc.c).
#[pyfunction]
#[pyo3(signature = (probability=Given(None), interval=Given(None), times=None, space=Given(None), this_thread=false),
    text_signature = "(probability=1.0, interval=1, times=None, space=0, this_thread=False)")]
fn fail_page_alloc(
    py: Python<'_>,
    probability: Given<'_>,
    interval: Given<'_>,
    times: Option<&Bound<'_, PyAny>>,
    space: Given<'_>,
    this_thread: bool,
) -> PyResult<FaultInjection> {
    Ok(FaultInjection::new(Kind::PageAlloc, attr(py, &probability, &interval, times, &space, this_thread)?))
}

/// Makes allocations of objects fail inside of `with`: of one cache, or of every cache (None), new ones included; also those
/// that a sheaf could have served. An object that comes out of a prefilled sheaf is never refused. A call is one request,
/// alloc_bulk(n) too. The other parameters are those of fail_page_alloc.
///
/// While it is on, the sheaves of these caches are kept empty, so that every call takes the slow path.
/// Raises CacheDestroyedError on entering where the cache is gone. Source: failslab (mm/failslab.c).
#[pyfunction]
#[pyo3(signature = (cache=None, probability=Given(None), interval=Given(None), times=None, space=Given(None), this_thread=false),
    text_signature = "(cache=None, probability=1.0, interval=1, times=None, space=0, this_thread=False)")]
fn fail_slab(
    py: Python<'_>,
    cache: Option<Py<KmemCache>>,
    probability: Given<'_>,
    interval: Given<'_>,
    times: Option<&Bound<'_, PyAny>>,
    space: Given<'_>,
    this_thread: bool,
) -> PyResult<FaultInjection> {
    Ok(FaultInjection::new(Kind::Slab(cache), attr(py, &probability, &interval, times, &space, this_thread)?))
}

/// The faults that are on in this process, one text each.
#[pyfunction]
pub(crate) fn active_faults(py: Python<'_>) -> Vec<String> {
    py.detach(|| fault::active().iter().map(ToString::to_string).collect())
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<FaultInjection>()?;
    module.add_function(wrap_pyfunction!(fail_page_alloc, module)?)?;
    module.add_function(wrap_pyfunction!(fail_slab, module)?)?;
    module.add_function(wrap_pyfunction!(active_faults, module)?)
}
