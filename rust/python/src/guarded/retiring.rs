//! `free_rcu` of one object, as far as the cache is concerned.

use std::ptr::NonNull;

use haybarn::Error;
use pyo3::Python;

use super::Guarded;
use crate::gate::{Does, Here};

impl Guarded {
    /// Hands one object to the core, to be reused after a grace period. False: that would have to wait, and nothing has
    /// happened (see [`Guarded::free_rcu_waiting`]). Never waits for readers.
    ///
    /// # Safety
    /// As [`Guarded::free`].
    pub(crate) unsafe fn try_free_rcu(&self, py: Python<'_>, object: NonNull<u8>) -> bool {
        let tried = self.gate.short(&Here::new(), Does::Free, || {
            // SAFETY: the caller's promise.
            let done = unsafe { self.raw.try_free_rcu(object) };
            (done, done)
        });
        tried.unwrap_or_else(|| {
            let mut done = false;
            let left = self.leave_with(py, |raw| {
                let noted = self.freeing(py, object);
                // SAFETY: the caller's promise.
                done = unsafe { raw.try_free_rcu(object) };
                if !done {
                    self.not_freed(py, object, noted);
                }
                (done.into(), done.into())
            });
            self.freed_on_closed(py, left);
            done
        })
    }

    /// As [`Guarded::try_free_rcu`], and waits, detached, where that would have to.
    ///
    /// # Errors
    /// There is no memory to remember the object by, and the thread is inside a read section.
    ///
    /// # Safety
    /// As [`Guarded::free`].
    #[cold]
    pub(crate) unsafe fn free_rcu_waiting(&self, py: Python<'_>, object: NonNull<u8>) -> Result<(), Error> {
        let address = object.as_ptr().expose_provenance();
        let mut outcome = Ok(());
        let left = self.leave_with(py, |raw| {
            let noted = self.freeing(py, object);
            outcome = py.detach(|| {
                // SAFETY: the address of an object that is live, by the caller's promise.
                unsafe { raw.free_rcu(NonNull::new_unchecked(std::ptr::with_exposed_provenance_mut(address))) }
            });
            if outcome.is_err() {
                self.not_freed(py, object, noted);
            }
            (outcome.is_ok().into(), outcome.is_ok().into())
        });
        self.freed_on_closed(py, left);
        outcome
    }
}
