//! Where in the program the live objects of a tracked cache were allocated.
//!
//! A tracked cache bars the short way of its gate for good (as one with a constructor does), so each of its allocations and frees
//! comes by here and no other cache pays for it. A site goes with its object: what is in the table is live and of this name, also
//! where others share the slabs.
//!
//! The lock is held by threads that are attached, and never while Python code runs or anybody detaches. So a fork of Python finds
//! it open: by the GIL, or because a free-threaded interpreter stops the others at a safe place first.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::env::VarError;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use haybarn::Error;
use pyo3::prelude::*;

/// "file:line", if the interpreter could say.
pub(crate) type Site = Option<Arc<str>>;

/// The sites of one cache's live objects, by address.
#[derive(Default)]
pub(crate) struct Sites(Mutex<HashMap<usize, Site>>);

impl Sites {
    fn table(&self) -> MutexGuard<'_, HashMap<usize, Site>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that these objects, which nobody else has seen yet, were allocated there. One that there is no memory for is unknown.
    pub(crate) fn note(&self, _: Python<'_>, site: &Site, objects: impl ExactSizeIterator<Item = usize>) {
        let mut table = self.table();
        if table.try_reserve(objects.len()).is_ok() {
            objects.for_each(|address| drop(table.insert(address, site.clone())));
        }
    }

    /// Forgets an object that is about to be freed; what was noted of it.
    pub(crate) fn forget(&self, _: Python<'_>, object: NonNull<u8>) -> Option<Site> {
        self.table().remove(&object.as_ptr().addr())
    }

    /// Takes a [`Sites::forget`] back.
    pub(crate) fn restore(&self, _: Python<'_>, object: NonNull<u8>, noted: Option<Site>) {
        if let Some(site) = noted {
            // There is a place for it, unless others have used it up and memory is out too.
            let mut table = self.table();
            if table.try_reserve(1).is_ok() {
                table.insert(object.as_ptr().addr(), site);
            }
        }
    }

    /// What was noted of an address: None if it is no live object of this name.
    pub(crate) fn of(&self, _: Python<'_>, address: usize) -> Option<Site> {
        self.table().get(&address).cloned()
    }
}

/// The line of Python that runs.
pub(crate) fn here(py: Python<'_>) -> Site {
    let look = || -> PyResult<String> {
        let frame = py.import("sys")?.getattr("_getframe")?.call0()?;
        let file = frame.getattr("f_code")?.getattr("co_filename")?;
        Ok(format!("{}:{}", file.str()?.to_string_lossy(), frame.getattr("f_lineno")?))
    };
    look().ok().map(Arc::from)
}

/// Whether caches that do not say so themselves are tracked: `HAYBARN_TRACK`, 1 yes, 0 or nothing no.
pub(crate) fn wanted() -> Result<bool, Error> {
    let value = match std::env::var("HAYBARN_TRACK") {
        Ok(value) => value,
        Err(VarError::NotPresent) => return Ok(false),
        Err(VarError::NotUnicode(value)) => format!("{value:?}"),
    };
    match value.as_str() {
        "1" => Ok(true),
        "" | "0" => Ok(false),
        _ => {
            let (argument, legal) = ("HAYBARN_TRACK", "0 or 1".to_owned());
            Err(Error::BadArgument { cache: String::new(), argument, value, legal })
        }
    }
}
