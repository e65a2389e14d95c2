//! Attaching a thread to the interpreter in a way that a fork in the middle does not harm.

#[cfg(not(Py_3_12))]
use haybarn::service;
use pyo3::ffi;
use pyo3::prelude::*;

/// Runs `call` attached to the interpreter; `None` if it has ended. Works also while it ends, on the thread that ends it.
///
/// A thread that Python does not know gets a thread state first, for which CPython takes a lock without the GIL. In 3.11 `os.fork` does not
/// wait for that lock, and the child would, for ever (CPython's issue 112275); so the state is made where forks wait.
pub(crate) fn attached<R>(call: impl FnOnce(Python<'_>) -> R) -> Option<R> {
    if is_attached() {
        return if_attached(call);
    }
    // SAFETY: may be called from any thread.
    if unsafe { ffi::Py_IsInitialized() } == 0 || ends_who_attaches() {
        return None;
    }
    let _state = State::of_this_thread()?;
    Python::try_attach(call)
}

/// Runs `call` if the thread is attached; `None` if it is not.
pub(crate) fn if_attached<R>(call: impl FnOnce(Python<'_>) -> R) -> Option<R> {
    // SAFETY: it is.
    is_attached().then(|| call(unsafe { Python::assume_attached() }))
}

/// Whether this thread is attached to the interpreter.
///
/// Not `PyGILState_Check`: once a subinterpreter was made it says yes to everybody, for ever (documented so).
pub(crate) fn is_attached() -> bool {
    // SAFETY: these may be called from any thread. Up to 3.11 the second is the state of whoever holds the GIL; it is only compared.
    let (own, attached) = unsafe { (ffi::PyGILState_GetThisThreadState(), ffi::compat::PyThreadState_GetUnchecked()) };
    !own.is_null() && own == attached
}

/// Whether threads that attach now are ended; before 3.13 nobody says so in time.
fn ends_who_attaches() -> bool {
    cfg!(Py_3_13) && is_finalizing()
}

/// Whether the interpreter is being taken down. As `sys.is_finalizing()`.
pub(crate) fn is_finalizing() -> bool {
    #[cfg(Py_3_13)]
    use ffi::Py_IsFinalizing;
    #[cfg(not(Py_3_13))]
    unsafe extern "C" {
        #[link_name = "_Py_IsFinalizing"]
        fn Py_IsFinalizing() -> std::ffi::c_int;
    }
    // SAFETY: may be called from any thread.
    unsafe { Py_IsFinalizing() != 0 }
}

/// A thread state; this thread's own goes with it.
enum State {
    Own,
    Known,
}

impl State {
    /// `None` without memory.
    fn of_this_thread() -> Option<Self> {
        // SAFETY: these may be called from any thread while there is an interpreter; what is made is this thread's from then on, and
        // is attached once, before it goes.
        unsafe {
            if !ffi::PyGILState_GetThisThreadState().is_null() {
                return Some(Self::Known);
            }
            let make = || ffi::PyThreadState_New(ffi::PyInterpreterState_Main());
            // In 3.12 the child has a new lock. From 3.13 on `os.fork` holds it, and would wait for us while we wait for it (116522).
            #[cfg(Py_3_12)]
            let made = make();
            #[cfg(not(Py_3_12))]
            let made = service::between_forks(make);
            if made.is_null() {
                return None;
            }
            ffi::PyEval_RestoreThread(made);
        }
        Some(Self::Own)
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if matches!(self, Self::Own) {
            // SAFETY: the thread is attached. A new state counts as ensured once: this takes it back, clears the state and detaches.
            unsafe { ffi::PyGILState_Release(ffi::PyGILState_STATE::PyGILState_UNLOCKED) };
        }
    }
}
