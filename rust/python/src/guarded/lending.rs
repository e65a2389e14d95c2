//! Prefilled sheaves behind the gate: they go out and come back inside of it, so that a destroyer, who refuses while one is
//! out, sees each either way.
#![forbid(unsafe_code)]

use std::ptr::NonNull;

use haybarn::{AllocFlags, Error, RawPrefilled};
use pyo3::Python;

use super::{Gone, Guarded, NoObject};
use crate::gate::{Does, Here};

/// What keeps a closed cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left {
    /// Live objects.
    pub(crate) live: u64,
    /// Prefilled sheaves that are out.
    pub(crate) prefilled: u64,
}

/// Why there is no sheaf, or none with so many objects.
pub(crate) enum NoSheaf {
    /// The core refused the argument.
    Refused(Error),
    /// There are no objects to be had.
    NoObject(NoObject),
}

impl Guarded {
    /// Sets objects aside; lets go of the GIL above `detach_above`, where no constructor needs it.
    pub(crate) fn prefill(
        &self,
        py: Python<'_>,
        n: usize,
        detach_above: usize,
    ) -> Result<Result<RawPrefilled, NoSheaf>, Gone> {
        let detaches = n > detach_above && self.lifetimes.is_none();
        let prefilled = self.enter(py, Does::Alloc, false, move |raw, _| {
            let work = move || raw.prefill(AllocFlags::empty(), n);
            let prefilled = if detaches { py.detach(work) } else { work() };
            if prefilled.is_ok() {
                self.lent.take(1);
            }
            prefilled.map_err(|error| self.no_sheaf(error))
        });
        self.settle(py);
        prefilled
    }

    /// Sees to it that a prefilled sheaf of this cache has `n` objects.
    pub(crate) fn refill(
        &self,
        py: Python<'_>,
        sheaf: &mut RawPrefilled,
        n: usize,
        detach_above: usize,
    ) -> Result<Result<(), NoSheaf>, Gone> {
        let detaches = n.saturating_sub(sheaf.len()) > detach_above && self.lifetimes.is_none();
        let refilled = self.enter(py, Does::Alloc, false, move |_, _| {
            let mut work = move || sheaf.refill(AllocFlags::empty(), n);
            let refilled = if detaches { py.detach(work) } else { work() };
            refilled.map_err(|error| self.no_sheaf(error))
        });
        self.settle(py);
        refilled
    }

    /// Runs a short call that takes an object out of a prefilled sheaf; `Err` when the short way is barred (see
    /// [`Guarded::taking_gated`]).
    #[inline]
    pub(crate) fn taking<R>(&self, call: impl FnOnce() -> Option<R>) -> Result<Option<R>, ()> {
        let taken = self.gate.short(&Here::new(), Does::Alloc, || {
            let taken = call();
            let moved = taken.is_some();
            (taken, moved)
        });
        taken.ok_or(())
    }

    /// [`Guarded::taking`] for those whom it turned away.
    #[cold]
    pub(crate) fn taking_gated(
        &self,
        py: Python<'_>,
        call: impl FnOnce() -> Option<NonNull<u8>>,
    ) -> Result<Option<NonNull<u8>>, Gone> {
        let site = self.allocating(py);
        let taken = self.enter(py, Does::Alloc, false, |_, pass| {
            let taken = call();
            pass.count(usize::from(taken.is_some()));
            if let Some(object) = taken {
                self.allocated(py, site.as_ref(), [object.as_ptr().addr()].into_iter());
            }
            taken
        });
        self.settle(py);
        taken
    }

    /// Whether a sheaf cannot come back here and now.
    pub(crate) fn takes_back_later(&self) -> bool {
        self.puts_off()
    }

    /// Gives a prefilled sheaf back, which kept the cache from being destroyed.
    pub(crate) fn take_back(&self, py: Python<'_>, sheaf: RawPrefilled) {
        let mut sheaf = Some(sheaf);
        let left = self.leave(py, 0, 1, |_| {
            drop(sheaf.take());
            self.lent.take(u64::MAX);
        });
        // It may come back inside the gate only.
        std::mem::forget(sheaf);
        self.freed_on_closed(py, left);
    }

    fn no_sheaf(&self, error: Error) -> NoSheaf {
        match error {
            Error::BadArgument { .. } => NoSheaf::Refused(error),
            _ => NoSheaf::NoObject(self.no_object()),
        }
    }
}
