//! A Python dict of the binding's own that a forked child does not find locked. The interpreter guards it, collects it and keeps it
//! whole over `fork`. Without the GIL a dict has a lock, which may be handed to a thread that waits for it and that the child does not
//! have: so the child makes a copy and goes on with that.

use haybarn::sync::PublishedPtr;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The dict.
pub(crate) struct Table(
    /// A box of ours, changed only where no other thread is.
    PublishedPtr<Py<PyDict>>,
);

impl Table {
    /// An empty one.
    pub(crate) fn new(py: Python<'_>) -> Self {
        Self(PublishedPtr::new(Box::into_raw(Box::new(PyDict::new(py).unbind()))))
    }

    /// The dict. What is done with it must not come to code that forks: keys are numbers, values that are taken off are held, and who
    /// does more clones it first.
    pub(crate) fn dict(&self) -> &Py<PyDict> {
        // SAFETY: a box of ours, there for as long as it is published, which only `renew` ends.
        unsafe { &*self.0.read() }
    }

    /// In the child of a fork, before anything else: goes on with a copy. Without memory for one, with what there is.
    ///
    /// # Safety
    /// No other thread is there, and this one has no borrow from [`Table::dict`].
    pub(crate) unsafe fn renew(&self, py: Python<'_>) {
        if !cfg!(Py_GIL_DISABLED) {
            return;
        }
        let (before, copy) = (self.0.read(), PyDict::new(py));
        let (mut at, mut key, mut value) = (0, std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: attached; nobody changes the dict meanwhile, and this takes no lock; key and value are lent by the dict.
        while unsafe { ffi::PyDict_Next((*before).as_ptr(), &mut at, &mut key, &mut value) } != 0 {
            // SAFETY: as above.
            let (key, value) = unsafe { (Bound::from_borrowed_ptr(py, key), Bound::from_borrowed_ptr(py, value)) };
            if copy.set_item(key, value).is_err() {
                return;
            }
        }
        self.0.publish(Box::into_raw(Box::new(copy.unbind())));
        // SAFETY: from `Box::into_raw`, published no more, and not borrowed by the caller's promise.
        drop(unsafe { Box::from_raw(before) });
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: from `Box::into_raw`, and nobody else's any more.
        drop(unsafe { Box::from_raw(self.0.read()) });
    }
}
