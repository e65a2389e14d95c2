//! A core cache behind its gate: what the core asks of its callers (objects that are live and of this cache, nobody
//! inside a destroyed one) is kept here, for every Python thread.

use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use haybarn::sync::Published;
use haybarn::{AllocFlags, CacheName, CacheStorage, CtorError, RawCache, SlabFlags};
use pyo3::{Bound, PyAny, Python};

use crate::addresses::Addresses;
use crate::foreign;
use crate::gate::{Does, Gate, Here, Pass, Refused};
use crate::last;
use crate::lifetimes::{Identity, Lifetimes, inside, later};
use crate::sites::Sites;

mod lending;
mod lives;
mod retiring;
mod tracking;

pub(crate) use lending::{Left, NoSheaf};
pub(crate) use lives::End;

/// How long a caller sleeps, detached from the interpreter, before it looks at a busy gate again.
const NAP: Duration = Duration::from_micros(50);

/// The cache is closed or destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// Left by `with`, objects still live: no new ones.
    Closed,
    /// Its memory has gone back.
    Destroyed,
    /// It is to be waited for, and this thread is inside of a constructor or destructor that others may be waiting for, or in a signal
    /// handler inside of a wait for this cache.
    Inside,
    /// The interpreter is ending, and a thread inside does not run any more.
    Stuck,
}

/// The core had no object: memory is out, or a constructor failed.
pub(crate) struct NoObject(pub(crate) Option<CtorError>);

/// Sees to the end of the cache with that serial, later; of one with callbacks here it is itself.
pub(crate) type QueueEnd = fn(Python<'_>, u64, Option<Bound<'_, PyAny>>);

/// A core cache and its gate.
pub(crate) struct Guarded {
    /// Kept as long as the Python object, so it keeps nothing itself.
    name: CacheName,
    /// The storage that it lies in, if that was chosen.
    storage: Option<Arc<CacheStorage>>,
    /// The name's, which others may share.
    raw: RawCache,
    gate: Gate,
    /// Its key in the registry.
    serial: u64,
    /// What a closed cache does in a place that must not wait when it has lost its last object but cannot go yet.
    queue_end: QueueEnd,
    /// Whether its slabs go after a grace period only.
    type_safe: bool,
    /// Prefilled sheaves of this name that are out; changed inside the gate.
    lent: Published,
    /// 1 once the core cache has been destroyed; set before the gate opens again.
    destroyed: Published,
    /// Objects that were live and sheaves that were out when a destroyer was last refused, less those that came back since by
    /// calls that found a flag up: on a closed cache, what keeps it.
    left: Published,
    /// Constructor, destructor and payloads. Then every call is a long one: it may run Python code.
    lifetimes: Option<Arc<Lifetimes>>,
    /// Where live objects were allocated, if that is remembered. Then too every call is a long one.
    sites: Option<Box<Sites>>,
}

impl Guarded {
    /// Takes the core cache's name over; nobody else may destroy it.
    pub(crate) fn new(
        name: &CacheName,
        storage: Option<Arc<CacheStorage>>,
        serial: u64,
        queue_end: QueueEnd,
        lifetimes: Option<Arc<Lifetimes>>,
    ) -> Self {
        let zero = || Published::new(0);
        Self {
            // SAFETY: used inside the gate only, and no more once `destroyed` is set.
            raw: unsafe { name.raw() },
            gate: Gate::new(lifetimes.is_some()),
            serial,
            queue_end,
            type_safe: name.flags().contains(SlabFlags::TYPESAFE_BY_RCU),
            lent: zero(),
            name: name.keeping_nothing(),
            storage,
            destroyed: zero(),
            left: zero(),
            lifetimes,
            sites: None,
        }
    }

    /// Its key in the registry.
    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    /// Constructor, destructor and payloads, if the cache has any.
    pub(crate) fn lifetimes(&self) -> Option<&Lifetimes> {
        self.lifetimes.as_deref()
    }

    /// Runs the destructors of slabs that have died since.
    pub(crate) fn reap(&self, py: Python<'_>) {
        if let Some(lifetimes) = self.lifetimes().filter(|lifetimes| lifetimes.may_reap()) {
            // A cache that is gone has run them all.
            let _gone = self.enter(py, Does::Alloc, true, |raw, _| {
                raw.reap();
                // Their grace period is not over: another call looks again.
                if raw.has_dead() {
                    lifetimes.slab_died();
                }
            });
        }
    }

    /// Does at the end of a call what it may have caused.
    pub(crate) fn settle(&self, py: Python<'_>) {
        if self.lifetimes.is_some() && !inside::anything() {
            self.reap(py);
            later::run(py);
        }
    }

    /// One object, or `None` when memory is out; `Err` when the short way is barred (see [`Guarded::alloc_gated`]).
    #[inline(always)]
    pub(crate) fn alloc(&self, here: &Here, flags: AllocFlags) -> Result<Option<NonNull<u8>>, ()> {
        let taken = self.gate.short(here, Does::Alloc, || {
            let object = self.raw.alloc(flags);
            (object, object.is_some())
        });
        taken.ok_or(())
    }

    /// [`Guarded::alloc`] for those whom it turned away: waits for a destroyer, then tries once more; and for an object of a node's
    /// memory.
    #[cold]
    pub(crate) fn alloc_gated(
        &self,
        py: Python<'_>,
        flags: AllocFlags,
        node: Option<u32>,
    ) -> Result<Result<NonNull<u8>, NoObject>, Gone> {
        let site = self.allocating(py);
        let found = self.enter(py, Does::Alloc, false, |raw, pass| {
            let object = node.map_or_else(|| raw.alloc(flags), |node| raw.alloc_node(flags, node));
            pass.count(usize::from(object.is_some()));
            if let Some(object) = object {
                self.allocated(py, site.as_ref(), [object.as_ptr().addr()].into_iter());
            }
            object.ok_or_else(|| self.no_object())
        });
        self.settle(py);
        found
    }

    /// Gives one object back.
    ///
    /// # Safety
    /// `object` is live, came from this cache, and is the caller's alone to free.
    #[inline(always)]
    pub(crate) unsafe fn free(&self, py: Python<'_>, here: &Here, object: NonNull<u8>) {
        let freed = self.gate.short(here, Does::Free, || {
            // SAFETY: the caller's promise; a live object keeps the cache from being destroyed.
            unsafe { self.raw.free(object) }
            ((), true)
        });
        if freed.is_none() {
            // SAFETY: the caller's promise, and the object is still live.
            unsafe { self.free_gated(py, object) }
        }
    }

    /// # Safety
    /// As [`Guarded::free`].
    #[cold]
    unsafe fn free_gated(&self, py: Python<'_>, object: NonNull<u8>) {
        // SAFETY: the caller's promise.
        if unsafe { self.free_later(py, object) } {
            return;
        }
        let left = self.leave(py, 1, 1, |raw| {
            self.freeing(py, object);
            // SAFETY: the caller's promise.
            unsafe { raw.free(object) }
        });
        self.freed_on_closed(py, left);
    }

    /// Inside of a callback of this cache, or of any destructor, the free of an object with callbacks is put off.
    ///
    /// # Safety
    /// As [`Guarded::free`], if it gives back true.
    unsafe fn free_later(&self, py: Python<'_>, object: NonNull<u8>) -> bool {
        if !self.puts_off() {
            return false;
        }
        // SAFETY: the caller's promise.
        self.put_off(py, move |this, py| unsafe { this.free(py, &Here::new(), object) });
        true
    }

    /// Whether what comes back to the cache is put off: inside of a callback of it, or of any destructor.
    pub(crate) fn puts_off(&self) -> bool {
        self.identity().is_some_and(|cache| inside::puts_off(cache))
    }

    /// Does something with this cache, which is kept until then, when the thread is outside of every callback.
    fn put_off(&self, py: Python<'_>, work: impl FnOnce(&Self, Python<'_>) + 'static) {
        let Some(owner) = self.lifetimes().and_then(|lifetimes| lifetimes.owner(py)) else { return };
        let (owner, this) = (owner.unbind(), std::ptr::from_ref(self));
        later::put_off(move |py| {
            // SAFETY: a cache does not move, and the reference keeps it.
            work(unsafe { &*this }, py);
            foreign::forget(owner.into_bound(py));
        });
    }

    /// Gives many objects back in one call; lets go of the GIL when there are more than `detach_above`.
    ///
    /// # Safety
    /// Each object is live, of this cache, in the slice once, and the caller's alone to free.
    pub(crate) unsafe fn free_bulk(&self, py: Python<'_>, objects: &mut [*mut u8], detach_above: usize) {
        if self.puts_off() {
            for &mut object in objects {
                // SAFETY: the caller's promise; objects are not null.
                unsafe { self.free(py, &Here::new(), NonNull::new_unchecked(object)) };
            }
            return;
        }
        let n = objects.len();
        if self.sites.is_some() {
            objects.iter().filter_map(|&object| NonNull::new(object)).for_each(|object| drop(self.freeing(py, object)));
        }
        let list = Addresses(objects);
        let left = self.leave(py, n, n, move |raw| {
            let work = move || {
                // SAFETY: the caller's promise.
                unsafe { raw.free_bulk(list.whole()) }
            };
            if n > detach_above { py.detach(work) } else { work() }
        });
        self.freed_on_closed(py, left);
    }

    /// Why the core had no object just now.
    fn no_object(&self) -> NoObject {
        NoObject(self.lifetimes.as_ref().and_then(|_| haybarn::take_ctor_error()))
    }

    /// Fills `out` with new objects, all or none.
    pub(crate) fn alloc_bulk(
        &self,
        py: Python<'_>,
        flags: AllocFlags,
        out: &mut [*mut u8],
        detach_above: usize,
    ) -> Result<Result<(), NoObject>, Gone> {
        let n = out.len();
        let site = self.allocating(py);
        let list = Addresses(out);
        // A constructor needs the GIL.
        let detaches = n > detach_above && self.lifetimes.is_none();
        let filled = self.enter(py, Does::Alloc, false, move |raw, pass| {
            let work = move || raw.alloc_bulk(flags, list.whole());
            let filled = if detaches { py.detach(work) } else { work() };
            if !filled {
                return Err(self.no_object());
            }
            pass.count(n);
            Ok(())
        });
        if matches!(filled, Ok(Ok(()))) {
            self.allocated(py, site.as_ref(), out.iter().map(|object| object.addr()));
        }
        self.settle(py);
        filled
    }

    /// The core cache's name.
    pub(crate) fn name(&self) -> &CacheName {
        &self.name
    }

    /// Objects allocated and freed under this name so far. One that was given to `free_rcu` is freed.
    pub(crate) fn tally(&self) -> (u64, u64) {
        self.gate.tally()
    }

    /// Objects of this name that are live; exact when it is quiet.
    pub(crate) fn live(&self) -> u64 {
        self.gate.live()
    }

    /// Runs `call` with the core cache, which is not destroyed meanwhile; waits (detached) while a destroyer is at work.
    /// `closed`: whether a closed cache will do.
    pub(crate) fn enter<R>(
        &self,
        py: Python<'_>,
        does: Does,
        closed: bool,
        call: impl FnOnce(RawCache, &Pass<'_>) -> R,
    ) -> Result<R, Gone> {
        // A destroyer waits for who is inside already.
        let again = self.identity().is_some_and(|cache| inside::of(cache));
        let mut last = last::End::default();
        let pass = loop {
            match self.gate.enter(does, closed, again) {
                Ok(pass) => break pass,
                // Who destroys a cache without callbacks waits for nobody's.
                Err(Refused::Busy) if self.lifetimes.is_some() && inside::must_not_wait() => return Err(Gone::Inside),
                Err(Refused::Busy) if last.has_come(py) => return Err(Gone::Stuck),
                Err(Refused::Busy) => nap(py),
                Err(Refused::Closed) => return Err(self.gone()),
            }
        };
        let _inside = self.identity().map(|cache| inside::call(cache, pass.word()));
        if self.is_destroyed() { Err(Gone::Destroyed) } else { Ok(call(self.raw, &pass)) }
    }

    /// [`Guarded::leave_with`] where it is known before: `objects` freed, and `keepers` things given up.
    fn leave(&self, py: Python<'_>, objects: usize, keepers: usize, call: impl FnOnce(RawCache)) -> u64 {
        self.leave_with(py, |raw| {
            call(raw);
            (objects, keepers)
        })
    }

    /// [`Guarded::enter`] for those who give back things (objects, prefilled sheaves) that kept the cache from being destroyed.
    /// `call` says how many objects it freed, to be counted, and how many things it gave back; this returns `left`. All of it
    /// happens inside the gate, so that a destroyer, who counts what is live, sees either both or neither.
    ///
    /// Where the interpreter ends and the destroyer does not run any more, nothing happens: they go with the process.
    fn leave_with(&self, py: Python<'_>, call: impl FnOnce(RawCache) -> (usize, usize)) -> u64 {
        let left = self.enter(py, Does::Free, true, |raw, pass| {
            let (objects, keepers) = call(raw);
            pass.count(objects);
            let keepers = keepers as u64;
            self.left.take(keepers.wrapping_neg()).wrapping_sub(keepers)
        });
        match left {
            Ok(left) => left,
            // What was not given back is left: the caller does not end the cache.
            Err(Gone::Stuck) => 1,
            Err(gone) => unreachable!("live objects in a cache that is {gone:?}"),
        }
    }

    /// Closed or destroyed?
    pub(crate) fn gone(&self) -> Gone {
        if self.is_destroyed() { Gone::Destroyed } else { Gone::Closed }
    }

    /// Whether the core cache has been destroyed.
    pub(crate) fn is_destroyed(&self) -> bool {
        self.destroyed.read() != 0
    }

    /// Whether the cache takes no new objects.
    pub(crate) fn is_closed(&self) -> bool {
        self.gate.is_closed()
    }

    /// In the child of a fork: forgets the threads that are not there any more.
    pub(crate) fn reset_after_fork(&self, py: Python<'_>) {
        let destroyer = self.identity().is_some_and(|cache| inside::is_alone(cache));
        self.gate.reset_after_fork(inside::stays, destroyer);
        if let Some(lifetimes) = &self.lifetimes {
            lifetimes.reset_after_fork(py);
        }
    }

    fn identity(&self) -> Option<&Arc<Identity>> {
        self.lifetimes.as_ref().map(|lifetimes| &lifetimes.identity)
    }
}

/// Sleeps a little, detached from the interpreter.
pub(crate) fn nap(py: Python<'_>) {
    py.detach(|| std::thread::sleep(NAP));
}
