//! Read sections. A section belongs to the thread that entered it, and the core counts how deep a thread is; a guard is one
//! of those counts.
//!
//! A guard may die anywhere: a generator that is closed on another thread, a cycle found by a collection. What is left on the
//! wrong thread is owed: it is written down for the owner, who gives it back the next time that it enters or leaves a section or
//! waits. A thread that ends inside leaves all of its sections.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use haybarn::rcu;
use haybarn::sync::Published;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::errors::{self, Kind};
use crate::object;

/// A thread, as far as its sections are concerned.
struct Owner {
    /// Sections whose guards died on other threads.
    owed: Published,
    /// Sections that it is in; changed by itself alone.
    depth: Published,
}

/// Fewer than the core can count.
const DEEPEST: u64 = 60_000;

std::thread_local! {
    static ME: Arc<Owner> = Arc::new(Owner { owed: Published::new(0), depth: Published::new(0) });
}

/// One stay inside a read section; see the stub for its Python documentation.
#[pyclass(frozen, immutable_type, module = "haybarn.rcu")]
pub(crate) struct ReadSection {
    /// Who is inside with it. Locked while attached and for a moment only, so that no fork finds it locked.
    holder: Mutex<Option<Arc<Owner>>>,
}

/// A guard for `with`: inside, no grace period ends that began later.
///
/// Sections nest, on every thread by itself. Entering costs no atomic instruction and never waits. A section is left on the
/// thread that entered it; until then it holds up every grace period, so keep it short. Thread-safe: each thread takes its
/// own guard. As the kernel's rcu_read_lock().
#[pyfunction]
pub(super) fn read_lock() -> ReadSection {
    ReadSection { holder: Mutex::new(None) }
}

#[pymethods]
impl ReadSection {
    /// Enters; ReadSectionError if this guard is inside already.
    fn __enter__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        let py = this.py();
        let mut holder = this.get().holder();
        if holder.is_some() {
            return Err(wrong(py, "this guard is inside a read section already: take another one with read_lock()"));
        }
        let me = ME.with(Arc::clone);
        me.pay();
        if me.depth.read() >= DEEPEST {
            return Err(wrong(
                py,
                &format!("this thread is in {DEEPEST} read sections inside one another: leave some"),
            ));
        }
        me.enter();
        *holder = Some(me);
        drop(holder);
        Ok(this.clone())
    }

    /// Leaves; ReadSectionError if this guard is not inside, or was entered on another thread.
    #[pyo3(signature = (*_exc_info))]
    fn __exit__(&self, py: Python<'_>, _exc_info: &Bound<'_, PyTuple>) -> PyResult<()> {
        let mut holder = self.holder();
        let Some(owner) = &*holder else {
            return Err(wrong(py, "this guard is not inside a read section: it was never entered, or has been left"));
        };
        if !owner.is_me() {
            let text =
                "this guard's read section was entered on another thread, which has to leave it: it is still open";
            return Err(wrong(py, text));
        }
        owner.leave();
        owner.pay();
        *holder = None;
        drop(holder);
        if !rcu::is_reading() {
            // What could not be done inside.
            object::hand_over_parked(py);
        }
        Ok(())
    }

    fn __repr__(&self) -> String {
        let state = match &*self.holder() {
            None => "outside",
            Some(owner) if owner.is_me() => "inside",
            Some(_) => "inside on another thread",
        };
        format!("<haybarn.rcu.ReadSection, {state}>")
    }
}

impl ReadSection {
    fn holder(&self) -> MutexGuard<'_, Option<Arc<Owner>>> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ReadSection {
    fn drop(&mut self) {
        let holder = self.holder.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        match holder {
            Some(owner) if owner.is_me() => owner.leave(),
            Some(owner) => {
                owner.owed.take(1);
            }
            None => (),
        }
    }
}

impl Owner {
    fn is_me(self: &Arc<Self>) -> bool {
        // A thread whose locals are gone has left all of its sections.
        ME.try_with(|me| Arc::ptr_eq(self, me)).unwrap_or(false)
    }

    fn enter(&self) {
        self.depth.publish(self.depth.read() + 1);
        // SAFETY: left by this thread once, through `leave`: by `__exit__`, by the guard's end, or by `pay`.
        unsafe { rcu::read_lock_raw() };
    }

    /// By the owner, for a guard that was inside and is not any more.
    fn leave(&self) {
        // SAFETY: entered by this thread with that guard.
        unsafe { rcu::read_unlock_raw() };
        self.depth.publish(self.depth.read() - 1);
    }

    /// Leaves what this thread owes.
    fn pay(&self) {
        let owed = self.owed.read();
        if owed == 0 {
            return;
        }
        // Nobody but the owner takes away.
        self.owed.take(owed.wrapping_neg());
        (0..owed).for_each(|_| self.leave());
    }
}

/// Gives back the sections of this thread whose guards died elsewhere.
pub(crate) fn pay_debts() {
    let _ = ME.try_with(|me| me.pay());
}

#[cold]
fn wrong(py: Python<'_>, text: &str) -> PyErr {
    errors::error(py, Kind::ReadSection, text)
}
