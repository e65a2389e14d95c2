//! Wrappers kept for reuse, as the interpreter does with its own small types: with the GIL in one stack that the GIL guards, without
//! it in one for each of the first threads, which later threads take over (`haybarn::rcu::Here`). A wrapper goes to the thread that
//! lets go of it last.
//!
//! A wrapper that is kept is a dead object, as those in the interpreter's own lists are: its type is whole, its count is nothing
//! that another thread could raise, and `_Py_NewReference` makes it an object again, owned by the thread that runs it.

use std::ptr::NonNull;

use haybarn::fault::{Point, request};
use pyo3::ffi;
use pyo3::prelude::*;

use super::layout::SlabObject;
use crate::gate::Here;
use crate::lifetimes::inside;

/// A new instance of `class`, the type of `SlabObject`, with its Python head in place and nothing else; `None` when memory is out
/// or this thread is inside of a destructor, and no error is set.
///
/// # Safety
/// The interpreter is attached; `class` is the ready type of `SlabObject`, and `here` this thread.
#[inline(always)]
pub(super) unsafe fn new(here: &Here, class: *mut ffi::PyTypeObject) -> Option<NonNull<SlabObject>> {
    // SAFETY: attached; the memory is nobody's else, and the type ready by the caller's promise.
    unsafe { set_aside(here, class).map(|memory| begin(memory)) }
}

/// Memory for an instance of `class`, without a count of references; `None` when memory is out, and no error is set.
///
/// # Safety
/// As for [`new`].
#[inline(always)]
pub(super) unsafe fn set_aside(here: &Here, class: *mut ffi::PyTypeObject) -> Option<NonNull<SlabObject>> {
    // SAFETY: attached.
    let memory = unsafe { kept::take(here) };
    match memory {
        // Of the one class there is.
        Some(memory) => Some(memory),
        // SAFETY: attached.
        None => unsafe { allocate(class) },
    }
}

/// Makes it a new instance with nothing else. Asks for no memory.
///
/// # Safety
/// The interpreter is attached; `memory` came from [`set_aside`] and is nobody's.
#[inline(always)]
pub(super) unsafe fn begin(memory: NonNull<SlabObject>) -> NonNull<SlabObject> {
    // SAFETY: nobody's memory, large enough for an instance, with its type in place; the type is static and not counted.
    unsafe { _Py_NewReference(memory.as_ptr().cast()) };
    memory
}

unsafe extern "C" {
    /// What the interpreter's own free lists, and `PyObject_Init`, begin an object with; exported since 2.x.
    fn _Py_NewReference(object: *mut ffi::PyObject);
}

/// # Safety
/// As for [`new`].
#[cold]
unsafe fn allocate(class: *mut ffi::PyTypeObject) -> Option<NonNull<SlabObject>> {
    // SAFETY: the interpreter is attached.
    if unsafe { kept::is_watched() } && inside::in_dtor() {
        return None;
    }
    if !request(Point::Wrapper, size_of::<SlabObject>()) {
        return None;
    }
    // SAFETY: the interpreter is attached.
    let memory: NonNull<SlabObject> = NonNull::new(unsafe { ffi::PyObject_Malloc(size_of::<SlabObject>()) }.cast())?;
    // SAFETY: the head is at the beginning, and nobody else knows the memory.
    unsafe { (&raw mut (*memory.as_ptr().cast::<ffi::PyObject>()).ob_type).write(class) };
    Some(memory)
}

/// While it lives, no allocation of this thread takes the short way, of whatever cache, so that each is asked whether it is legal
/// in a destructor.
pub(crate) struct Watched {
    #[cfg(Py_GIL_DISABLED)]
    _gate: crate::gate::Watched,
}

/// Starts to watch this thread.
#[cfg(not(Py_GIL_DISABLED))]
pub(crate) fn watch(py: Python<'_>) -> Watched {
    kept::hide(py);
    Watched {}
}

/// Starts to watch this thread.
#[cfg(Py_GIL_DISABLED)]
pub(crate) fn watch(_: Python<'_>) -> Watched {
    Watched { _gate: crate::gate::look_at_thread() }
}

/// In the child of a fork: other threads' destructors do not end any more.
pub(crate) fn reset_after_fork(_py: Python<'_>) {
    #[cfg(not(Py_GIL_DISABLED))]
    kept::reset(_py, inside::dtors());
}

#[cfg(not(Py_GIL_DISABLED))]
impl Drop for Watched {
    fn drop(&mut self) {
        // SAFETY: made by `watch`, and dropped where it was made: in a call of the core's, attached.
        kept::show(unsafe { Python::assume_attached() });
    }
}

/// Takes the memory of a dead instance back.
///
/// # Safety
/// The interpreter is attached; it came from [`set_aside`]; nobody refers to the instance any more and its fields are cleared.
#[inline]
pub(super) unsafe fn retire(here: &Here, shell: NonNull<SlabObject>) {
    // SAFETY: attached.
    if !unsafe { kept::give(here, shell) } {
        // SAFETY: from `PyObject_Malloc` in `allocate`.
        unsafe { ffi::PyObject_Free(shell.as_ptr().cast()) };
    }
}

#[cfg(not(Py_GIL_DISABLED))]
mod kept {
    use std::cell::UnsafeCell;
    use std::ptr::NonNull;

    use pyo3::Python;

    use super::{Here, SlabObject};

    /// More than any program holds between two uses in a loop, and 24 KiB.
    const MOST: usize = 512;
    /// A count at which nothing is taken or given, as far away as never to be counted down from.
    const HIDDEN: usize = usize::MAX / 2;

    struct Kept(UnsafeCell<(usize, [*mut SlabObject; MOST])>);

    // SAFETY: used by the functions here only, whose callers hold the GIL for the whole of the call.
    unsafe impl Sync for Kept {}

    static KEPT: Kept = Kept(UnsafeCell::new((0, [std::ptr::null_mut(); MOST])));

    /// How often the stack is hidden, and its count meanwhile.
    struct Hidden(UnsafeCell<(usize, usize)>);

    // SAFETY: as above.
    unsafe impl Sync for Hidden {}

    static HIDING: Hidden = Hidden(UnsafeCell::new((0, 0)));

    /// Makes `take` and `give` miss, by a test that they make anyway.
    pub(super) fn hide(_: Python<'_>) {
        // SAFETY: the GIL is held and nothing in here calls out, so these are the only references.
        let ((n, _), (times, before)) = unsafe { (&mut *KEPT.0.get(), &mut *HIDING.0.get()) };
        if *times == 0 {
            *before = *n;
            *n = HIDDEN;
        }
        *times += 1;
    }

    /// Ends a [`hide`].
    pub(super) fn show(_: Python<'_>) {
        // SAFETY: as in `hide`.
        let ((n, _), (times, before)) = unsafe { (&mut *KEPT.0.get(), &mut *HIDING.0.get()) };
        *times -= 1;
        if *times == 0 {
            *n = *before;
        }
    }

    /// Forgets all but so many [`hide`]s.
    pub(super) fn reset(py: Python<'_>, times: usize) {
        // SAFETY: as in `hide`; the reference ends before the call.
        unsafe { (*HIDING.0.get()).0 = if is_watched() { times + 1 } else { return } };
        show(py);
    }

    /// Whether some thread's allocations are watched.
    ///
    /// # Safety
    /// The GIL is held.
    pub(super) unsafe fn is_watched() -> bool {
        // SAFETY: as in `hide`.
        unsafe { (*HIDING.0.get()).0 != 0 }
    }

    /// # Safety
    /// The GIL is held.
    #[inline]
    pub(super) unsafe fn take(_: &Here) -> Option<NonNull<SlabObject>> {
        // SAFETY: the GIL is held and nothing in here calls out, so this is the only reference.
        let (n, shells) = unsafe { &mut *KEPT.0.get() };
        *n = n.checked_sub(1)?;
        shells.get(*n).copied().and_then(NonNull::new)
    }

    /// # Safety
    /// The GIL is held.
    #[inline]
    pub(super) unsafe fn give(_: &Here, shell: NonNull<SlabObject>) -> bool {
        // SAFETY: as in `take`.
        let (n, shells) = unsafe { &mut *KEPT.0.get() };
        let Some(place) = shells.get_mut(*n) else { return false };
        *place = shell.as_ptr();
        *n += 1;
        true
    }
}

#[cfg(Py_GIL_DISABLED)]
mod kept {
    use std::ptr::NonNull;

    use super::{Here, SlabObject};

    /// The gate watches.
    pub(super) unsafe fn is_watched() -> bool {
        false
    }

    #[inline]
    pub(super) unsafe fn take(here: &Here) -> Option<NonNull<SlabObject>> {
        here.take_kept().map(NonNull::cast)
    }

    #[inline]
    pub(super) unsafe fn give(here: &Here, shell: NonNull<SlabObject>) -> bool {
        here.keep(shell.cast())
    }
}
