#![forbid(unsafe_code)]
//! Constructors and destructors as a cache's owner sees them.
//!
//! An object is constructed when its slab is made, once, and destructed when its slab's pages go, once; in between it is
//! allocated and freed any number of times and keeps what its constructor made.
//!
//! Source: the constructors of `setup_object` (mm/slub.c), and Harry Yoo's series that lets them fail and gives them
//! destructors (2025).

use crate::error::Error;
use core::any::Any;
use core::fmt;
use core::ptr::NonNull;
use std::cell::RefCell;

/// What a cache's owner does to each object, once per slab. Called on the thread that needs the slab or gives it back, with
/// no lock of the allocator held.
///
/// Rules inside a call: no allocation from the same cache in `construct`, none from any cache in `destruct`; both are refused
/// with [`Error::Reentry`](crate::Error::Reentry) wherever the allocator comes to look, which is everywhere but on the inlined
/// hit. Objects may be freed: those that would not go to a sheaf at once are queued, and freed when the callback is over.
/// The object is not used after the call except by those who allocate it.
pub trait Hooks: Send + Sync {
    /// Constructs an object in memory that holds nothing yet. A panic is as an error, and goes on in the caller once all is as
    /// before.
    ///
    /// # Errors
    /// The call that needed the object fails, and [`take_ctor_error`] has this error. What was constructed of the same slab is
    /// destructed.
    fn construct(&self, object: NonNull<u8>) -> Result<(), CtorError>;

    /// Takes apart what `construct` made; not called for an object whose `construct` failed. The memory is not used
    /// afterwards. A panic ends this call only, and is counted in the cache's `dtor_panic`.
    fn destruct(&self, object: NonNull<u8>);

    /// False where `destruct` does nothing: then slabs go at once. Asked once, when the cache is made.
    fn has_dtor(&self) -> bool {
        true
    }

    /// What the attribute `ctor` shows: the constructor's name, one line. Empty for none: destructors only.
    fn symbol(&self) -> String {
        core::any::type_name::<Self>().to_owned()
    }

    /// Asked when a slab's objects have been destructed and its pages would go. With `true` they do not: they become a run of
    /// [`Arena::alloc_pages`](crate::Arena::alloc_pages), which the hooks' owner gives back.
    fn keep_run(&self, base: NonNull<u8>, bytes: usize) -> bool {
        let _ = (base, bytes);
        false
    }

    /// In [`DtorMode::Manual`]: slabs have died, somebody should call `RawCache::reap`. On any thread, as often as operations
    /// find dead slabs.
    fn died(&self) {}
}

impl fmt::Debug for dyn Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("has_dtor", &self.has_dtor()).finish_non_exhaustive()
    }
}

/// Why a constructor failed: a value of the hooks' own, or an [`Error`](crate::Error) where the call was refused.
#[derive(Debug)]
pub struct CtorError(pub Box<dyn Any + Send>);

/// Where the destructors of a cache's dead slabs run. In every mode the slabs that wait are bounded and shown
/// (`CacheStats::dead_slabs`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DtorMode {
    /// At the end of the operation that freed the slab's last object, on its thread. Where that is the service thread (CPUs that
    /// nobody uses any more, `free_rcu` that ages), on that.
    #[default]
    Inline,
    /// On the service thread. An operation that finds the backlog full runs them itself.
    Service,
    /// When somebody asks for it: for bindings that must hold a lock of their own. While the backlog is full, slabs that
    /// become empty are kept.
    Manual,
}

thread_local! {
    static LAST: RefCell<Option<CtorError>> = const { RefCell::new(None) };
}

/// Why the last allocation, bulk allocation or prefill of this thread that failed did so; `None`: memory is out. Takes the
/// error.
#[must_use]
pub fn take_ctor_error() -> Option<CtorError> {
    LAST.try_with(RefCell::take).ok().flatten()
}

/// Has [`take_ctor_error`] find why there was no object: nothing, where memory is out.
pub(crate) fn refused(error: Error) {
    let is_told = !matches!(error, Error::OutOfMemory { .. });
    set_ctor_error(is_told.then(|| CtorError(Box::new(error))));
}

/// Sets what [`take_ctor_error`] finds.
pub(super) fn set_ctor_error(error: Option<CtorError>) {
    // A thread that is ending has no place for it. The old value is dropped when the cell is not borrowed any more.
    let _last = LAST.try_with(|last| last.replace(error));
}
