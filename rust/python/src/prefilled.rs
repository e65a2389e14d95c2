//! `PrefilledSheaf`: objects set aside beforehand, wrappers and all.
#![forbid(unsafe_code)]

use haybarn::{AllocFlags, Error};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::args::Args;
use crate::cache::KmemCache;
use crate::errors::{self, Kind};
use crate::object::{Refused, SetAside};
use crate::turn::{Held, NoTurn, Turn};

/// Objects of a KmemCache set aside, so that taking them cannot fail: made by KmemCache.prefill(n).
///
/// `with cache.prefill(32) as sheaf: obj = sheaf.alloc()`; len(sheaf) says how many are left, and as many calls of alloc()
/// succeed whatever becomes of the memory, since the memory of the Python objects is set aside too. Goes back to its cache at
/// the end of `with`, by give_back(), or with its last reference; the objects that were taken stay what they are.
///
/// Thread-safe: threads may take from one sheaf, and no two of them get one object. Source: kmem_cache_prefill_sheaf
/// (mm/slub.c).
#[pyclass(frozen, weakref, immutable_type, module = "haybarn")]
pub(crate) struct PrefilledSheaf {
    cache: Py<KmemCache>,
    /// None once it has been returned.
    aside: Turn<Option<SetAside>>,
}

impl PrefilledSheaf {
    pub(crate) fn new<'py>(cache: &Bound<'py, KmemCache>, n: usize) -> PyResult<Bound<'py, Self>> {
        let aside = SetAside::new(cache, n)?;
        Bound::new(cache.py(), Self { cache: cache.clone().unbind(), aside: Turn::new(Some(aside)) })
    }

    fn name(&self) -> &str {
        &self.cache.get().name
    }

    fn turn(&self, py: Python<'_>) -> PyResult<Held<'_, Option<SetAside>>> {
        self.aside.wait(py).map_err(|why| self.no_turn(py, why))
    }

    #[cold]
    fn no_turn(&self, py: Python<'_>, why: NoTurn) -> PyErr {
        let name = self.name();
        match why {
            NoTurn::Own => errors::error(
                py,
                Kind::Reentry,
                format!("cache '{name}': the prefilled sheaf is used inside a callback of its own refill"),
            ),
            NoTurn::Lost => errors::error(
                py,
                Kind::UseAfterFree,
                format!(
                    "cache '{name}': another thread was at work on the prefilled sheaf when this process was forked: ask for another one"
                ),
            ),
        }
    }

    /// The error for a sheaf that has been returned.
    #[cold]
    fn returned(&self, py: Python<'_>) -> PyErr {
        let text = format!("cache '{}': the prefilled sheaf has been returned: ask for another one", self.name());
        errors::error(py, Kind::UseAfterFree, text)
    }

    /// Takes what is set aside out, at most once.
    fn end(&self, py: Python<'_>) -> PyResult<bool> {
        let aside = self.turn(py)?.take();
        let found = aside.is_some();
        // Outside of the turn: the cache may end with this, and with it run callbacks.
        if let Some(aside) = aside {
            aside.give_back(self.cache.bind(py));
        }
        Ok(found)
    }

    /// Nobody refers to it any more, or what does is garbage too.
    pub(crate) fn end_with_last_reference(&self, py: Python<'_>) {
        // One that another thread was at work on when the process forked stays what it was: see `Turn`.
        drop(self.end(py));
    }
}

#[pymethods]
impl PrefilledSheaf {
    /// An object of the sheaf; its bytes are zero if asked, else whatever was there.
    ///
    /// Raises SheafEmptyError (an IndexError) when none is left, and no MemoryError ever; CacheDestroyedError once the cache is
    /// closed, UseAfterFreeError once the sheaf has been returned.
    #[pyo3(signature = (*, zero=false))]
    fn alloc<'py>(&self, py: Python<'py>, zero: bool) -> PyResult<Bound<'py, PyAny>> {
        let flags = if zero { AllocFlags::ZERO } else { AllocFlags::empty() };
        let taken = match self.turn(py)?.as_mut() {
            Some(aside) => aside.take(self.cache.bind(py), flags),
            None => return Err(self.returned(py)),
        };
        taken.map_err(|refused| match refused {
            Refused::Empty => errors::from_core(py, Error::SheafEmpty { cache: self.name().to_owned() }),
            Refused::Error(error) => error,
        })
    }

    /// Sees to it that at least n objects (1 to 2**32 - 1) are in the sheaf.
    ///
    /// Raises BadArgumentError, or OutOfMemoryError; the sheaf is then as it was.
    #[pyo3(signature = (n, /))]
    fn refill(&self, py: Python<'_>, n: &Bound<'_, PyAny>) -> PyResult<()> {
        let n = Args { py, cache: self.name() }.prefilled(n)?;
        match self.turn(py)?.as_mut() {
            Some(aside) => aside.refill(self.cache.bind(py), n),
            None => Err(self.returned(py)),
        }
    }

    /// Returns the sheaf, and what is left in it, to the cache.
    ///
    /// Raises UseAfterFreeError if that has happened already.
    fn give_back(&self, py: Python<'_>) -> PyResult<()> {
        if self.end(py)? { Ok(()) } else { Err(self.returned(py)) }
    }

    /// The KmemCache that its objects come from.
    #[getter]
    fn cache<'py>(&self, py: Python<'py>) -> Bound<'py, KmemCache> {
        self.cache.bind(py).clone()
    }

    /// Objects that it has room for.
    #[getter]
    fn capacity(&self, py: Python<'_>) -> PyResult<usize> {
        self.turn(py)?.as_ref().map(SetAside::capacity).ok_or_else(|| self.returned(py))
    }

    /// Whether it has gone back to the cache.
    #[getter(returned)]
    fn is_returned(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.turn(py)?.is_none())
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.turn(py)?.as_ref().map(SetAside::len).ok_or_else(|| self.returned(py))
    }

    fn __enter__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        let (py, sheaf) = (this.py(), this.get());
        if sheaf.turn(py)?.is_none() { Err(sheaf.returned(py)) } else { Ok(this.clone()) }
    }

    #[pyo3(signature = (*_exc_info))]
    fn __exit__(&self, py: Python<'_>, _exc_info: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.end(py).map(|_| ())
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let state = match self.aside.wait(py) {
            Ok(held) => match held.as_ref() {
                Some(aside) => format!("{} of {} objects", aside.len(), aside.capacity()),
                None => "returned".to_owned(),
            },
            Err(_) => "in use".to_owned(),
        };
        format!("<haybarn.PrefilledSheaf of '{}', {state}>", self.name())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.cache)
    }
}

impl Drop for PrefilledSheaf {
    fn drop(&mut self) {
        Python::attach(|py| self.end_with_last_reference(py));
    }
}
