//! Wrappers kept for reuse. With the GIL they lie in one stack that the GIL guards, as the interpreter's own free lists
//! do; without it the interpreter's allocator is already a stack per thread, and anything of ours would have to follow
//! threads to their end, so nothing is kept.

use std::ptr::NonNull;

use haybarn::fault::{Point, request};
use pyo3::ffi;

use super::layout::SlabObject;

/// A new instance of `class` with its Python head in place and nothing else; `None` when memory is out, and no error is set.
///
/// # Safety
/// The interpreter is attached; `class` is the ready type of `SlabObject`.
#[inline]
pub(super) unsafe fn new(class: *mut ffi::PyTypeObject) -> Option<NonNull<SlabObject>> {
    // SAFETY: attached.
    let memory = unsafe { kept::take() };
    let memory = match memory {
        Some(memory) => memory,
        // SAFETY: attached.
        None => unsafe { allocate() }?,
    };
    // SAFETY: the memory is large enough for an instance and nobody's; the type is static and ready.
    unsafe { ffi::PyObject_Init(memory.as_ptr().cast(), class) };
    Some(memory)
}

#[cold]
unsafe fn allocate() -> Option<NonNull<SlabObject>> {
    if !request(Point::Wrapper, size_of::<SlabObject>()) {
        return None;
    }
    // SAFETY: the interpreter is attached.
    NonNull::new(unsafe { ffi::PyObject_Malloc(size_of::<SlabObject>()) }.cast())
}

/// Takes the memory of a dead instance back.
///
/// # Safety
/// The interpreter is attached; nobody refers to the instance any more and its fields are cleared.
#[inline]
pub(super) unsafe fn retire(shell: NonNull<SlabObject>) {
    // SAFETY: attached.
    if !unsafe { kept::give(shell) } {
        // SAFETY: from `PyObject_Malloc` in `allocate`.
        unsafe { ffi::PyObject_Free(shell.as_ptr().cast()) };
    }
}

#[cfg(not(Py_GIL_DISABLED))]
mod kept {
    use std::cell::UnsafeCell;
    use std::ptr::NonNull;

    use super::SlabObject;

    /// More than any program holds between two uses in a loop, and 24 KiB.
    const MOST: usize = 512;

    struct Kept(UnsafeCell<(usize, [*mut SlabObject; MOST])>);

    // SAFETY: used by `take` and `give` only, whose callers hold the GIL for the whole of the call.
    unsafe impl Sync for Kept {}

    static KEPT: Kept = Kept(UnsafeCell::new((0, [std::ptr::null_mut(); MOST])));

    /// # Safety
    /// The GIL is held.
    #[inline]
    pub(super) unsafe fn take() -> Option<NonNull<SlabObject>> {
        // SAFETY: the GIL is held and nothing in here calls out, so this is the only reference.
        let (n, shells) = unsafe { &mut *KEPT.0.get() };
        *n = n.checked_sub(1)?;
        shells.get(*n).copied().and_then(NonNull::new)
    }

    /// # Safety
    /// The GIL is held.
    #[inline]
    pub(super) unsafe fn give(shell: NonNull<SlabObject>) -> bool {
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

    use super::SlabObject;

    #[inline]
    pub(super) unsafe fn take() -> Option<NonNull<SlabObject>> {
        None
    }

    #[inline]
    pub(super) unsafe fn give(_shell: NonNull<SlabObject>) -> bool {
        false
    }
}
