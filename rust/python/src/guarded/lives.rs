//! How the core cache ends: alone inside the gate, and never waiting for readers there. Who waits, and where, is in `ending`.

use haybarn::{CacheName, Error};
use pyo3::Python;

use super::{Gone, Guarded, Left, nap};
use crate::gate::Does;
use crate::last;
use crate::lifetimes::{Lifetimes, inside};

/// Naps for which a destroyer keeps others out while it waits for those who are inside.
const PATIENCE: u32 = 20;

/// How an attempt to end a cache came out.
#[derive(Debug)]
pub(crate) enum End {
    /// It is destroyed.
    Destroyed,
    /// It was destroyed before.
    Already,
    /// Objects are live; the core's error says how many. It is closed, if that was asked for.
    Live(Error),
    /// Something waits for a grace period, frees or dead slabs: nothing has happened.
    Pending,
}

impl Guarded {
    /// Whether something waits for a grace period: objects that were freed for its end, or slabs of a type-safe cache.
    pub(crate) fn is_pending(&self, py: Python<'_>) -> bool {
        self.enter(py, Does::Alloc, true, |_, _| self.waits()).unwrap_or(false)
    }

    /// Objects of this name that are live, and its sheaves that are out: exact for who is alone inside.
    fn left(&self) -> Left {
        Left { live: self.live(), prefilled: self.lent.read() }
    }

    /// Whether nothing is live, as far as a look from outside the gate tells.
    pub(crate) fn is_idle(&self) -> bool {
        let left = self.left();
        left.live + left.prefilled == 0
    }

    /// Ends the name if others share its slabs, with nobody else inside. False: it is the last one.
    fn leave_to_others(&self) -> Result<bool, Error> {
        let (allocs, frees) = self.tally();
        // SAFETY: the caller is alone inside the gate, or it is the destructor; whoever comes later sees `destroyed`.
        self.end_by(|name| unsafe { name.leave_with(allocs, frees) })
    }

    /// Ends the name by `end`, which may find that it must not, and with it what lies in its storage.
    fn end_by(&self, end: impl FnOnce(&CacheName) -> Result<bool, Error>) -> Result<bool, Error> {
        match &self.storage {
            Some(storage) => storage.end_by(|_| end(&self.name)),
            None => end(&self.name),
        }
    }

    /// Whether its slabs go after a grace period only.
    pub(crate) fn is_type_safe(&self) -> bool {
        self.type_safe
    }

    /// What others who share the slabs have freed is theirs to wait for.
    fn waits(&self) -> bool {
        let pending = self.raw.rcu_pending() > 0 || (self.type_safe && self.raw.has_dead());
        pending && !self.name.is_shared()
    }

    /// Whether the end of the cache may have to wait for a grace period.
    pub(crate) fn may_end_late(&self, py: Python<'_>) -> bool {
        self.type_safe || self.is_pending(py)
    }

    /// Gives dead slabs back whose grace period is over.
    pub(crate) fn reap_ripe(&self, py: Python<'_>) {
        if let Some(lifetimes) = self.lifetimes() {
            // Whether the service thread has come to say so or not.
            lifetimes.slab_died();
            self.reap(py);
            self.settle(py);
        } else if self.type_safe {
            // A cache that is gone has none.
            let _gone = self.enter(py, Does::Alloc, true, |raw, _| raw.reap());
        }
    }

    /// Closes a cache that nobody refers to.
    pub(crate) fn close_alone(&self) {
        if self.gate.try_own() {
            self.gate.disown(true);
        }
    }

    /// Ends the cache unless objects are live (`close` then shuts out new ones) or something waits for a grace period. Never
    /// waits for readers.
    pub(crate) fn try_end(&self, py: Python<'_>, close: bool) -> Result<Result<End, Error>, Gone> {
        self.own(py)?;
        // Its last reference may run foreign code, which must find the gate open.
        let owner = self.name.owner();
        let end = self.end_alone();
        match &end {
            Ok(End::Destroyed | End::Already) => self.destroyed.publish(1),
            Ok(End::Live(Error::CacheBusy { live, prefilled, .. })) => self.left.publish(live + prefilled),
            _ => (),
        }
        let close = close && matches!(end, Ok(End::Live(_)));
        self.gate.disown(close || self.is_destroyed());
        drop(owner);
        self.settle(py);
        Ok(end)
    }

    /// With nobody else inside.
    fn end_alone(&self) -> Result<End, Error> {
        if self.is_destroyed() {
            return Ok(End::Already);
        }
        let left = self.left();
        if left.live + left.prefilled == 0 && self.leave_to_others()? {
            return Ok(End::Destroyed);
        }
        if self.waits() {
            // What lies about half full on some CPU begins its grace period now.
            self.raw.rcu_flush();
            return Ok(End::Pending);
        }
        let _inside = self.identity().map(inside::alone);
        if self.type_safe {
            let found = self.raw.stats();
            if found.objects + found.prefilled == 0 {
                let _slabs = self.raw.shrink();
                if self.raw.has_dead() {
                    return Ok(End::Pending);
                }
            }
        }
        // Of a cache that is busy the core says so before it waits for anybody.
        // SAFETY: nobody else is inside the gate, and whoever comes later sees `destroyed` before using the cache.
        match self.end_by(|name| unsafe { name.end_storage() }) {
            Ok(true) => Ok(End::Destroyed),
            // Others share it, and the first look found something of ours.
            Ok(false) if left.live + left.prefilled > 0 => Ok(End::Live(self.busy(left))),
            // One that has come since to share it.
            Ok(false) => Ok(if self.leave_to_others()? { End::Destroyed } else { End::Pending }),
            Err(error @ Error::CacheBusy { .. }) => Ok(End::Live(error)),
            Err(error) => Err(error),
        }
    }

    /// The core's error for a storage that others have too: what is live there need not be ours.
    fn busy(&self, Left { live, prefilled }: Left) -> Error {
        Error::CacheBusy { cache: self.name.name().to_owned(), live, prefilled, sample: Vec::new() }
    }

    /// A closed cache goes with its last object: called by every free that found a flag up, after it has left the gate.
    pub(super) fn freed_on_closed(&self, py: Python<'_>, left: u64) {
        if left as i64 <= 0 && self.is_closed() && !self.is_destroyed() {
            match self.try_end(py, true) {
                Ok(Ok(End::Pending)) => {
                    let owner = self.lifetimes().and_then(|lifetimes| lifetimes.owner(py));
                    (self.queue_end)(py, self.serial, owner);
                }
                Err(Gone::Inside) => self.put_off(py, |this, py| this.freed_on_closed(py, 0)),
                // Done, by this thread or another one, or left to the next free.
                Ok(_) | Err(_) => (),
            }
        }
        self.settle(py);
    }

    /// Has the gate to itself, waiting detached until it is so. It does not wait for long with the gate in its hands: who is
    /// inside may be waiting for a thread that is at the gate, or be in a callback, which may want in here again or somewhere
    /// where somebody waits for us.
    fn own(&self, py: Python<'_>) -> Result<(), Gone> {
        if inside::waits_for(self.serial) || self.identity().is_some_and(|cache| inside::of(cache)) {
            return Err(Gone::Inside);
        }
        let mut last = last::End::default();
        loop {
            while !self.gate.try_own() {
                if last.has_come(py) {
                    return Err(Gone::Stuck);
                }
                if inside::must_not_wait() {
                    return Err(Gone::Inside);
                }
                nap(py);
            }
            for _ in 0..PATIENCE {
                if self.gate.is_quiet() {
                    return Ok(());
                }
                if self.lifetimes().is_some_and(Lifetimes::is_running) {
                    break;
                }
                nap(py);
            }
            self.gate.disown(false);
            if inside::anything() {
                return Err(Gone::Inside);
            }
            if last.has_come(py) {
                return Err(Gone::Stuck);
            }
            nap(py);
        }
    }
}

impl Drop for Guarded {
    /// Every object holds a reference to its cache, so nothing is live and nobody is inside. What waits for a grace period
    /// was seen to by the finalizer; where it could not be, the cache stays.
    fn drop(&mut self) {
        // There is no Python object any more that callbacks could be shown; they have had their chance.
        self.lifetimes().inspect(|lifetimes| lifetimes.belongs_to_nobody());
        if !self.is_destroyed() && matches!(self.leave_to_others(), Ok(false)) && !self.type_safe && !self.waits() {
            // A cache that the core refuses to let go stays in its list.
            // SAFETY: nobody is left who could use it.
            let _ = self.end_by(|name| unsafe { name.end_storage() });
        }
    }
}
