//! What a prefilled sheaf of Python holds: objects of the slab, and for each of them the memory of its wrapper, so that taking
//! one asks nobody for memory.

use std::ptr::NonNull;

use haybarn::{AllocFlags, RawPrefilled};
use pyo3::ffi;
use pyo3::prelude::*;

use super::bulk::DETACH_ABOVE;
use super::layout::SlabObject;
use super::{collected, shells, slots};
use crate::cache::KmemCache;
use crate::errors;
use crate::gate::Here;
use crate::guarded::NoSheaf;
use crate::lifetimes::later;

/// Objects set aside. There are always as many wrappers as objects.
pub(crate) struct SetAside {
    sheaf: RawPrefilled,
    wrappers: Wrappers,
}

/// Why no object was taken.
pub(crate) enum Refused {
    Empty,
    Error(PyErr),
}

impl SetAside {
    /// Sets at least `n` objects of the cache and their wrappers aside.
    pub(crate) fn new(cache: &Bound<'_, KmemCache>, n: usize) -> PyResult<Self> {
        let (py, this, mut wrappers) = (cache.py(), cache.get(), Wrappers::none(cache.get()));
        // Wrappers first, as in `refill`: a sheaf that was out for a moment would show in the counters.
        this.check_alloc(py, AllocFlags::empty())?;
        if this.guarded.is_closed() {
            return Err(this.gone(py, this.guarded.gone()));
        }
        wrappers.grow_for(this, py, n, this.info.sheaf_capacity as usize)?;
        let prefilled = this.guarded.prefill(py, n, DETACH_ABOVE);
        wrappers.shrink(py, prefilled.as_ref().ok().and_then(|sheaf| sheaf.as_ref().ok()).map_or(0, RawPrefilled::len));
        let sheaf = prefilled.map_err(|gone| this.gone(py, gone))?.map_err(|why| no_sheaf(this, py, n, why))?;
        Ok(Self { sheaf, wrappers })
    }

    pub(crate) fn len(&self) -> usize {
        self.sheaf.len()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.sheaf.capacity()
    }

    /// Takes an object.
    pub(crate) fn take<'py>(
        &mut self,
        cache: &Bound<'py, KmemCache>,
        flags: AllocFlags,
    ) -> Result<Bound<'py, PyAny>, Refused> {
        let (py, this, sheaf) = (cache.py(), cache.get(), &mut self.sheaf);
        if sheaf.is_empty() {
            return Err(Refused::Empty);
        }
        this.check_alloc(py, flags).map_err(Refused::Error)?;
        let taken = match this.guarded.taking(|| sheaf.alloc(flags)) {
            Ok(taken) => taken,
            Err(()) => {
                let taken = this.guarded.taking_gated(py, || sheaf.alloc(flags));
                taken.map_err(|gone| Refused::Error(this.gone(py, gone)))?
            }
        };
        let (Some(address), Some(memory)) = (taken, self.wrappers.memory.pop()) else { return Err(Refused::Empty) };
        // SAFETY: attached; the memory is a wrapper's and nobody's yet; the address is a live object of the cache, to which a
        // new reference is handed over; the filled shell is a new reference for us.
        unsafe {
            let owner = NonNull::new_unchecked(ffi::Py_NewRef(cache.as_ptr()));
            if self.wrappers.collected {
                collected::fill(memory, address, owner);
            } else {
                SlabObject::fill(shells::begin(memory), address, owner);
            }
            Ok(Bound::from_owned_ptr(py, memory.as_ptr().cast()))
        }
    }

    /// Sees to it that there are at least `n` objects; where that fails everything is as before.
    pub(crate) fn refill(&mut self, cache: &Bound<'_, KmemCache>, n: usize) -> PyResult<()> {
        let (py, this) = (cache.py(), cache.get());
        let before = self.sheaf.len();
        // Wrappers first, for as many objects as there may be: giving some back cannot fail.
        this.check_alloc(py, AllocFlags::empty())?;
        if n > before {
            self.wrappers.grow_for(this, py, n, self.sheaf.capacity())?;
        }
        let refilled = this.guarded.refill(py, &mut self.sheaf, n, DETACH_ABOVE);
        self.wrappers.shrink(py, self.sheaf.len());
        refilled.map_err(|gone| this.gone(py, gone))?.map_err(|why| no_sheaf(this, py, n, why))
    }

    /// Gives sheaf and wrappers back; inside of a callback when that is over.
    pub(crate) fn give_back(mut self, cache: &Bound<'_, KmemCache>) {
        let py = cache.py();
        self.wrappers.shrink(py, 0);
        if cache.get().guarded.takes_back_later() {
            let cache = cache.clone().unbind();
            later::put_off(move |py| {
                let cache = cache.into_bound(py);
                cache.get().guarded.take_back(py, self.sheaf);
            });
        } else {
            cache.get().guarded.take_back(py, self.sheaf);
        }
    }
}

/// The error for a sheaf that is not to be had.
#[cold]
fn no_sheaf(cache: &KmemCache, py: Python<'_>, n: usize, why: NoSheaf) -> PyErr {
    match why {
        NoSheaf::Refused(error) => errors::from_core(py, error),
        NoSheaf::NoObject(why) => cache.no_object(py, n, why),
    }
}

/// Memory of wrappers that nobody has seen yet.
struct Wrappers {
    memory: Vec<NonNull<SlabObject>>,
    /// Of the type that the garbage collector sees through.
    collected: bool,
}

// SAFETY: the pointers are the only ones to memory that no thread has a claim on.
unsafe impl Send for Wrappers {}

impl Wrappers {
    fn none(cache: &KmemCache) -> Self {
        Self { memory: Vec::new(), collected: collected::is_for(cache) }
    }

    /// For a sheaf of at least `n` objects which may be filled to `capacity`; all or none.
    fn grow_for(&mut self, cache: &KmemCache, py: Python<'_>, n: usize, capacity: usize) -> PyResult<()> {
        let most = capacity.max(n);
        let fits = most.checked_mul(cache.slab_size).is_some_and(|bytes| bytes <= cache.reserved);
        if !fits {
            return Err(cache.out_of_memory(py, n));
        }
        if self.grow(py, most) { Ok(()) } else { Err(cache.no_wrapper(py, n)) }
    }

    /// Until there are `n`; all or none.
    fn grow(&mut self, py: Python<'_>, n: usize) -> bool {
        let before = self.memory.len();
        if self.memory.try_reserve_exact(n.saturating_sub(before)).is_err() {
            return false;
        }
        while self.memory.len() < n {
            // SAFETY: attached.
            let memory = unsafe {
                if self.collected {
                    collected::set_aside(py)
                } else {
                    shells::set_aside(&Here::new(), slots::type_object())
                }
            };
            let Some(memory) = memory else {
                self.shrink_to(before);
                return false;
            };
            self.memory.push(memory);
        }
        true
    }

    /// Until there are no more than `n`.
    fn shrink(&mut self, _: Python<'_>, n: usize) {
        self.shrink_to(n);
    }

    fn shrink_to(&mut self, n: usize) {
        while self.memory.len() > n
            && let Some(memory) = self.memory.pop()
        {
            // SAFETY: called attached only; from `set_aside`, and nobody has seen it.
            unsafe {
                if self.collected {
                    collected::put_back(memory);
                } else {
                    shells::retire(&Here::new(), memory);
                }
            }
        }
    }
}
