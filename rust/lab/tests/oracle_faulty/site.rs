//! Storage for a faulty cache, the plain way: everything under one lock.

use super::{Fault, Faulty};
use haybarn_lab::oracle::subject::Deferred;
use haybarn_lab::oracle::{Aside, Census, Subject};
use haybarn_lab::stress::{NoCache, Owner, Setting, Site};
use std::any::Any;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

type Shared = Arc<Mutex<State>>;

#[derive(Default)]
struct State {
    number: u64,
    cache: Option<Arc<Faulty>>,
    /// The name's, which readers have too.
    name: Option<Arc<Name>>,
    /// The last cache's, as long as it is read.
    read: Weak<Name>,
}

struct Name(Mutex<Option<Owner>>);

/// See [`Site`].
pub struct FaultySite {
    fault: Fault,
    make: Box<dyn Fn() -> Faulty + Send + Sync>,
    state: Shared,
}

fn lock(state: &Shared) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FaultySite {
    pub fn new(fault: Fault, make: impl Fn() -> Faulty + Send + Sync + 'static) -> Self {
        Self { fault, make: Box::new(make), state: Arc::default() }
    }

    fn make(&self, state: &mut State, owner: Option<Owner>) -> Setting {
        if state.read.strong_count() > 0 && self.fault != Fault::ReusesReadStorage {
            return Setting::Read;
        }
        state.number += 1;
        state.cache = Some(Arc::new((self.make)()));
        state.name = Some(Arc::new(Name(Mutex::new(owner))));
        Setting::Cache(state.number)
    }
}

impl Site for FaultySite {
    fn is_up(&self) -> bool {
        lock(&self.state).cache.is_some()
    }

    fn first_use(&self, owner: Option<Owner>) -> Result<Setting, NoCache> {
        let mut state = lock(&self.state);
        let again = self.fault == Fault::SetsUpTwice && state.number.is_multiple_of(2);
        Ok(if state.cache.is_some() && !again { Setting::Cache(state.number) } else { self.make(&mut state, owner) })
    }

    fn setup(&self, owner: Option<Owner>) -> Result<Setting, NoCache> {
        let mut state = lock(&self.state);
        Ok(if state.cache.is_some() { Setting::Already } else { self.make(&mut state, owner) })
    }

    fn subject(&self) -> Option<Box<dyn Subject>> {
        let cache = lock(&self.state).cache.clone()?;
        Some(Box::new(Stored { cache, fault: self.fault, state: self.state.clone() }))
    }

    fn reader(&self) -> Option<Box<dyn Any + Send>> {
        lock(&self.state).name.clone().map(|name| Box::new(name) as Box<dyn Any + Send>)
    }
}

struct Stored {
    cache: Arc<Faulty>,
    fault: Fault,
    state: Shared,
}

impl Subject for Stored {
    fn name(&self) -> &str {
        self.cache.name()
    }
    fn size(&self) -> usize {
        self.cache.size()
    }
    fn align(&self) -> usize {
        self.cache.align()
    }
    fn alloc(&self, zero: bool) -> Option<NonNull<u8>> {
        self.cache.alloc(zero)
    }
    unsafe fn free(&self, object: NonNull<u8>) {
        // SAFETY: the caller's word, here and below.
        unsafe { self.cache.free(object) }
    }
    fn alloc_bulk(&self, out: &mut [*mut u8]) -> bool {
        self.cache.alloc_bulk(out)
    }
    unsafe fn free_bulk(&self, objects: &mut [*mut u8]) {
        // SAFETY: as above.
        unsafe { self.cache.free_bulk(objects) }
    }
    fn prefill(&self, n: usize) -> Option<Box<dyn Aside + '_>> {
        self.cache.prefill(n)
    }
    fn check(&self, object: NonNull<u8>) -> Result<(), String> {
        self.cache.check(object)
    }
    fn shrink(&self) -> u64 {
        self.cache.shrink()
    }
    fn census(&self) -> Census {
        self.cache.census()
    }
    fn validate(&self) -> Result<(), String> {
        self.cache.validate()
    }
    fn deferred(&self) -> Option<&dyn Deferred> {
        self.cache.deferred()
    }

    unsafe fn destroy(&self) -> Result<(), String> {
        // SAFETY: as above.
        unsafe { self.cache.destroy()? };
        let mut state = lock(&self.state);
        state.cache = None;
        let Some(name) = state.name.take() else { return Ok(()) };
        state.read = Arc::downgrade(&name);
        drop(state);
        match self.fault {
            Fault::DropsTheOwner => drop(name.0.lock().unwrap_or_else(PoisonError::into_inner).take()),
            Fault::KeepsTheOwner => std::mem::forget(name.0.lock().unwrap_or_else(PoisonError::into_inner).take()),
            _ => {}
        }
        Ok(())
    }
}
