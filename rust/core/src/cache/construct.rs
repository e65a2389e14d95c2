#![forbid(unsafe_code)]
//! The objects of a slab constructed before anybody can know it, and destructed when nobody can any more.

use super::callbacks::{Callback, within};
use super::header::Cache;
use super::hooks::{CtorError, Hooks, set_ctor_error};
use super::options::AllocFlags;

use crate::error::Error;
use crate::stats::Stat;
use core::any::Any;
use core::ptr::NonNull;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// A constructor's failure on its way to the end of the operation that needed the object.
pub(super) struct Failed(Box<Failure>);

enum Failure {
    Error(CtorError),
    Panic(Box<dyn Any + Send>),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self(Box::new(Failure::Error(CtorError(Box::new(error)))))
    }
}

/// Ends an operation that found something, nothing (memory is out), or a constructor that failed. Every operation that may
/// make a slab ends here, with nothing left to clean up: a constructor's panic goes on from here.
pub(super) fn outcome<T>(done: Result<Option<T>, Failed>) -> Option<T> {
    let error = match done {
        Ok(Some(found)) => return Some(found),
        Ok(None) => None,
        Err(Failed(failure)) => match *failure {
            Failure::Error(error) => Some(error),
            Failure::Panic(payload) => resume_unwind(payload),
        },
    };
    set_ctor_error(error);
    None
}

/// Refuses an allocation that would lead back into a callback, and one that would wipe what a constructor made.
pub(super) fn check_alloc(cache: &Cache, flags: AllocFlags) -> Result<(), Failed> {
    super::callbacks::check_alloc(cache)?;
    if flags.contains(AllocFlags::ZERO) && cache.hooks.is_some() {
        return Err(Failed::from(zero_refused(cache)));
    }
    Ok(())
}

/// The error for ZERO where objects are constructed.
pub(super) fn zero_refused(cache: &Cache) -> Error {
    Error::BadArgument {
        cache: cache.name().to_owned(),
        argument: "flags",
        value: "ZERO".to_owned(),
        legal: "not ZERO: it would wipe what the constructor made".to_owned(),
    }
}

/// The `n` first objects of a slab.
fn objects(cache: &Cache, base: NonNull<u8>, n: u32) -> impl DoubleEndedIterator<Item = NonNull<u8>> {
    let stride = cache.geometry.slab_size;
    let at = move |n: u32| NonNull::new(base.as_ptr().wrapping_add(n as usize * stride));
    (0..n).filter_map(at)
}

/// Constructs the objects of a new slab, first to last.
///
/// # Errors
/// The first failure; what was constructed before it is destructed, last to first.
pub(super) fn construct_slab(cache: &Cache, base: NonNull<u8>, total: u32) -> Result<(), Failed> {
    let Some(hooks) = &cache.hooks else { return Ok(()) };
    let (made, failure) = within(cache, Callback::Constructor, || {
        for (n, object) in (0..).zip(objects(cache, base, total)) {
            match catch_unwind(AssertUnwindSafe(|| hooks.construct(object))) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return (n, Some(Failure::Error(error))),
                Err(payload) => return (n, Some(Failure::Panic(payload))),
            }
        }
        (total, None)
    });
    count(cache, Stat::CtorObject, u64::from(made));
    let Some(failure) = failure else { return Ok(()) };
    count(cache, Stat::CtorFail, 1);
    destruct(cache, &**hooks, base, made);
    Err(Failed(Box::new(failure)))
}

/// Destructs the objects of a dead slab. Called once per slab, with no lock of ours held.
pub(super) fn destruct_slab(cache: &Cache, base: NonNull<u8>, total: u32) {
    if let Some(hooks) = &cache.hooks {
        destruct(cache, &**hooks, base, total);
    }
}

/// Destructs the first `n` objects of a slab, last to first. A destructor that panics has done what it could: the panic hook
/// has reported it, the others still run, and the slab goes.
fn destruct(cache: &Cache, hooks: &dyn Hooks, base: NonNull<u8>, n: u32) {
    count(cache, Stat::DtorObject, u64::from(n));
    if !cache.has_dtor {
        return;
    }
    within(cache, Callback::Destructor, || {
        for object in objects(cache, base, n).rev() {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| hooks.destruct(object))) {
                count(cache, Stat::DtorPanic, 1);
                forget_panic(payload);
            }
        }
    });
}

/// Drops what a panic carried; that may panic again.
fn forget_panic(payload: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        core::mem::forget(again);
    }
}

fn count(cache: &Cache, stat: Stat, n: u64) {
    cache.bump(cache.backend.cpu(), stat, n);
}
