//! What a tracked cache remembers of its objects; nothing in others.
#![forbid(unsafe_code)]

use std::ptr::NonNull;

use pyo3::Python;

use super::Guarded;
use crate::sites::{self, Site, Sites};

impl Guarded {
    /// Remembers from now on where objects are allocated. For a cache that nobody uses yet.
    pub(crate) fn track(&mut self) {
        self.sites = Some(Box::default());
        self.gate.bar_short_calls();
    }

    /// Where its live objects were allocated, if that is remembered.
    pub(crate) fn sites(&self) -> Option<&Sites> {
        self.sites.as_deref()
    }

    /// Looked at before an allocation: it may run Python code.
    pub(super) fn allocating(&self, py: Python<'_>) -> Option<Site> {
        self.sites.as_ref().map(|_| sites::here(py))
    }

    pub(super) fn allocated(&self, py: Python<'_>, site: Option<&Site>, objects: impl ExactSizeIterator<Item = usize>) {
        if let (Some(sites), Some(site)) = (self.sites(), site) {
            sites.note(py, site, objects);
        }
    }

    /// Before a free: another thread may have the object as soon as it is done.
    pub(super) fn freeing(&self, py: Python<'_>, object: NonNull<u8>) -> Option<Site> {
        self.sites().and_then(|sites| sites.forget(py, object))
    }

    /// The free was not done.
    pub(super) fn not_freed(&self, py: Python<'_>, object: NonNull<u8>, noted: Option<Site>) {
        if let Some(sites) = self.sites() {
            sites.restore(py, object, noted);
        }
    }
}
