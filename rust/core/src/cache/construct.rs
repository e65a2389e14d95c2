#![forbid(unsafe_code)]
//! Constructors and destructors: an object is constructed when its slab is made, once, and destructed when its slab's pages
//! go, once; in between it is allocated and freed any number of times and keeps what its constructor made.
//!
//! Source: the constructors of `setup_object` (mm/slub.c), and Harry Yoo's series that lets them fail and gives them
//! destructors (2025).

use super::header::Cache;
use core::any::Any;
use core::fmt;
use core::ptr::NonNull;
use std::cell::RefCell;

/// What a cache's owner does to each object, once per slab. Called on the thread that needs the slab or gives it back, with
/// no lock of the allocator held.
pub trait Hooks: Send + Sync {
    /// Constructs an object in memory that holds nothing yet.
    ///
    /// # Errors
    /// The call that needed the object fails, and [`take_ctor_error`] has this error.
    fn construct(&self, object: NonNull<u8>) -> Result<(), CtorError>;

    /// Takes apart what `construct` made. The object was constructed, and its memory is not used afterwards.
    fn destruct(&self, object: NonNull<u8>);

    /// False where `destruct` does nothing: then slabs go at once.
    fn has_dtor(&self) -> bool {
        true
    }
}

impl fmt::Debug for dyn Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("has_dtor", &self.has_dtor()).finish_non_exhaustive()
    }
}

/// Why a constructor failed: a value of the hooks' own, or an [`Error`](crate::Error) where the call was refused.
#[derive(Debug)]
pub struct CtorError(pub Box<dyn Any + Send>);

/// Where the destructors of a cache's dead slabs run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DtorMode {
    /// At the end of the operation that freed the slab's last object, on its thread.
    #[default]
    Inline,
    /// On the service thread; above a bound of waiting slabs, as `Inline`.
    Service,
    /// When somebody asks for it: for bindings that must hold a lock of their own.
    Manual,
}

thread_local! {
    static LAST: RefCell<Option<CtorError>> = const { RefCell::new(None) };
}

/// Why the last allocation, bulk allocation or prefill of this thread failed; `None`: memory is out. Takes the error.
#[must_use]
pub fn take_ctor_error() -> Option<CtorError> {
    LAST.try_with(RefCell::take).ok().flatten()
}

/// A constructor's failure on its way to the end of the operation that needed the object.
pub(super) struct Failed(Box<Failure>);

#[expect(dead_code, reason = "made by the construction of slabs, which lands next")]
enum Failure {
    Error(CtorError),
    Panic(Box<dyn Any + Send>),
}

/// Ends an operation that found something, nothing (memory is out), or a constructor that failed. Every operation that may
/// make a slab ends here, with nothing left to clean up: a constructor's panic goes on from here.
pub(super) fn outcome<T>(done: Result<Option<T>, Failed>) -> Option<T> {
    let failure = match done {
        Ok(Some(found)) => return Some(found),
        Ok(None) => None,
        Err(Failed(failure)) => Some(*failure),
    };
    let error = match failure {
        Some(Failure::Panic(payload)) => std::panic::resume_unwind(payload),
        Some(Failure::Error(error)) => Some(error),
        None => None,
    };
    // What a value of the hooks' own does when it is dropped is not done while the cell is borrowed.
    let _last = LAST.try_with(|last| last.replace(error));
    None
}

/// Runs the destructor of each of the `total` objects of a dead slab. Called once per slab, with no lock of ours held.
pub(super) fn destruct_slab(_cache: &Cache, _base: NonNull<u8>, _total: u32) {}
