//! Signals to threads, and marks that a handler and the thread that it interrupts leave in objects.

use haybarn::sync::Counter;
use std::ptr::{NonNull, null_mut};

/// Has a signal handled; interrupted system calls go on. The handler calls only what handlers may call.
pub fn handle(signal: libc::c_int, handler: extern "C" fn(libc::c_int)) {
    // SAFETY: a zeroed `sigaction` is one without flags and with an empty mask; the handler is fit for one by the caller's word.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_RESTART;
        assert_eq!(libc::sigaction(signal, &raw const action, null_mut()), 0);
    }
}

/// Says to who sends signals which thread this is.
pub fn introduce(id: &Counter) {
    // SAFETY: says who this thread is.
    id.set(unsafe { libc::pthread_self() } as u64);
}

/// Sends a signal to a thread that introduces itself, and does not end before this has returned.
pub fn send(id: &Counter, signal: libc::c_int) {
    while id.get() == 0 {
        std::thread::yield_now();
    }
    // SAFETY: the thread lives, by the caller's word.
    assert_eq!(unsafe { libc::pthread_kill(id.get() as libc::pthread_t, signal) }, 0);
}

/// Writes an object's second word: the first may be a constructor's, or a reader's.
pub fn stamp(object: NonNull<u8>, value: u64) {
    // SAFETY: the caller's object, of two words or more.
    unsafe { object.cast::<u64>().add(1).write_volatile(value) };
}

/// Reads it.
pub fn stamp_of(object: NonNull<u8>) -> u64 {
    // SAFETY: as above.
    unsafe { object.cast::<u64>().add(1).read_volatile() }
}
