//! How a cache ends: `destroy`, leaving `with`, the last object of a closed cache, the last reference. And waiting for its
//! pending frees.
//!
//! Nobody waits for readers inside the gate: a reader, inside its section, may be waiting at that gate. So pending frees, and
//! slabs of type-safe caches, are waited for outside, as often as new ones come, and inside nothing is left to wait for.
//!
//! Where nobody may wait at all (the deallocation of an object or of a cache), an end with something pending is queued for after
//! a grace period; the queue then holds a reference to the cache, which so lives a little longer than its last one.
#![forbid(unsafe_code)]

use haybarn::{Error, RawCache, rcu};
use pyo3::prelude::*;

use crate::cache::KmemCache;
use crate::errors::{self, Kind};
use crate::gate::{Does, Pass};
use crate::guarded::{End, Gone, Left};
use crate::lifetimes::inside;
use crate::rcu::{Kept, Work, ends_are_queued, grace_period, listening, pay_debts, push, settle};
use crate::{object, registry};

impl KmemCache {
    /// Destroys it, strictly: an error when objects are live, and then it is as it was.
    pub(crate) fn destroy_now(&self, py: Python<'_>) -> PyResult<()> {
        match self.end(py, "destroy()", false)? {
            End::Destroyed | End::Pending => Ok(()),
            End::Already => Err(self.gone(py, Gone::Destroyed)),
            End::Live(error) => Err(self.busy(py, error)),
        }
    }

    /// Closes it to new objects and destroys it if nothing keeps it; gives back what does.
    pub(crate) fn close(&self, py: Python<'_>) -> PyResult<Left> {
        match self.end(py, "leaving `with`", true)? {
            End::Live(Error::CacheBusy { live, prefilled, .. }) => Ok(Left { live, prefilled }),
            End::Live(other) => Err(errors::from_core(py, other)),
            End::Destroyed | End::Already | End::Pending => Ok(Left { live: 0, prefilled: 0 }),
        }
    }

    /// Waits for what is pending, as often as there is something, and then ends the cache or finds it live.
    fn end(&self, py: Python<'_>, what: &'static str, close: bool) -> PyResult<End> {
        object::hand_over_parked(py);
        // Before it waits for readers: one may be waiting for this thread.
        if inside::waits_for(self.guarded.serial()) {
            return Err(self.gone(py, Gone::Inside));
        }
        loop {
            if self.guarded.is_pending(py) {
                self.wait_for_pending(py, what)?;
            }
            self.destruct_idle(py);
            match self.guarded.try_end(py, close) {
                Ok(Ok(End::Pending)) => self.wait_for_pending(py, what)?,
                Ok(Ok(end)) => return Ok(end),
                Ok(Err(error)) => return Err(errors::from_core(py, error)),
                Err(gone) => return Err(self.gone(py, gone)),
            }
        }
    }

    /// Runs the destructors of a cache without live objects, while other threads find its gate open: a destructor may wait for one of
    /// them. Inside the gate nothing is left to destruct then, but what has died since.
    fn destruct_idle(&self, py: Python<'_>) {
        let has_callbacks = self.guarded.lifetimes().is_some();
        if has_callbacks && self.guarded.is_idle() && self.check_outside(py, inside::SHRINK).is_ok() {
            // Destroyed meanwhile: by whoever did that.
            let _released = self.guarded.enter(py, Does::Alloc, true, |raw, _| py.detach(|| raw.shrink()));
            self.guarded.settle(py);
        }
    }

    /// Waits until what `free_rcu` was given before can be reused. A closed cache goes then, if those were its last.
    pub(crate) fn rcu_barrier_now(&self, py: Python<'_>) -> PyResult<()> {
        const WHAT: &str = "rcu_barrier()";
        self.may_wait(py, WHAT)?;
        object::hand_over_parked(py);
        if self.guarded.is_destroyed() {
            return Err(self.gone(py, Gone::Destroyed));
        }
        self.wait_for_pending(py, WHAT)?;
        self.finish(py).map(drop)
    }

    fn wait_for_pending(&self, py: Python<'_>, what: &'static str) -> PyResult<()> {
        self.may_wait(py, what)?;
        let waited = self.wait_for_readers(py, what);
        if waited.is_err() && matches!(self.finish(py), Ok(false)) {
            // The signal handler that raised may have freed the last object of a closed cache, and left its end to us.
            queue_end(py, self.guarded.serial(), None);
        }
        waited?;
        self.guarded.reap_ripe(py);
        Ok(())
    }

    /// A signal handler that would end the cache meanwhile would wait for this wait.
    fn wait_for_readers(&self, py: Python<'_>, what: &'static str) -> PyResult<()> {
        // Slabs that are dead already have seen out a grace period after this; frees see out theirs.
        if self.guarded.is_type_safe() {
            let _inside = inside::wait(self.guarded.serial(), &self.name, None);
            grace_period(py, what)?;
        }
        let wait = |raw: RawCache, pass: &Pass<'_>| {
            let word = self.guarded.lifetimes().is_none().then(|| pass.word());
            let _inside = inside::wait(self.guarded.serial(), &self.name, word);
            listening(py, what, |go_on| raw.rcu_barrier_while(go_on))
        };
        // One that another thread destroyed meanwhile has nothing pending.
        self.guarded.enter(py, Does::Alloc, true, wait).unwrap_or(Ok(()))
    }

    fn may_wait(&self, py: Python<'_>, what: &'static str) -> PyResult<()> {
        pay_debts();
        if inside::must_not_wait() {
            return Err(inside::would_wait(py, self.guarded.serial(), &self.name));
        }
        if !rcu::is_reading() {
            return Ok(());
        }
        let text = format!(
            "cache '{}': {what} inside a read section of this thread would wait for itself: leave the section first",
            self.name
        );
        Err(errors::error(py, Kind::ReadSection, text))
    }

    /// Ends a cache that is closed, or that nobody refers to, as far as that needs no waiting. False: something is pending.
    pub(crate) fn finish(&self, py: Python<'_>) -> PyResult<bool> {
        if !self.guarded.is_closed() || self.guarded.is_destroyed() {
            return Ok(true);
        }
        self.guarded.reap_ripe(py);
        match self.guarded.try_end(py, true) {
            Ok(Ok(end)) => Ok(!matches!(end, End::Pending)),
            Ok(Err(error)) => Err(errors::from_core(py, error)),
            // The queue is run by a thread that is inside of nothing.
            Err(_) => Ok(true),
        }
    }
}

/// Queues the end of a closed cache that has lost its last object while something was pending.
#[cold]
pub(crate) fn queue_end(py: Python<'_>, serial: u64, owner: Option<Bound<'_, PyAny>>) {
    // It is alive: the object that is going holds a reference. One that is garbage the registry does not know any more. Without
    // memory for the queue it goes with its last reference.
    let owner = owner.and_then(|owner| owner.cast_into::<KmemCache>().ok());
    if let Some(cache) = owner.or_else(|| registry::find(py, serial).ok().flatten()) {
        let _ = push(py, Work::Finish(Kept::new(cache, false)));
    }
}

/// Nobody refers to a cache any more, in a place that must not wait. What is pending gives it a last reference.
pub(crate) fn last_reference_gone(cache: &Bound<'_, KmemCache>) -> PyResult<()> {
    let (py, guarded) = (cache.py(), &cache.get().guarded);
    let end = guarded.try_end(py, true);
    if matches!(end, Ok(Ok(End::Pending))) {
        guarded.close_alone();
        return push(py, Work::Finish(Kept::new(cache.clone(), true)));
    }
    // Every object holds a reference to its cache: what is live is garbage too, and goes with its finalizer.
    if !guarded.is_destroyed() {
        guarded.lifetimes().inspect(|lifetimes| lifetimes.outlived());
    }
    match end {
        Ok(Err(error)) => Err(errors::from_core(py, error)),
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}

/// Makes a cache. A name, or storage, that is taken may be that of a cache which is going: then it is tried again when that
/// is gone.
pub(crate) fn retry_name<R>(py: Python<'_>, make: impl Fn() -> Result<R, Error>) -> PyResult<R> {
    let made = match make() {
        Err(Error::BadArgument { argument: "name", .. } | Error::AlreadySetUp { .. } | Error::StorageInUse { .. })
            if ends_are_queued() =>
        {
            settle(py)?;
            make()
        }
        made => made,
    };
    made.map_err(|error| errors::from_core(py, error))
}
