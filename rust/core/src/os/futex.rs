//! futex(2): sleeping until a word changes, and waking who does. A wake takes no lock of ours and sets no `errno`, so signal
//! handlers may wake.

use crate::sync::Bell;
use std::time::Duration;

/// Sleeps while the bell's word says that its thread sleeps, for `time` at most; may return early.
pub(crate) fn sleep(bell: &Bell, time: Option<Duration>) {
    let time = time.map(|time| libc::timespec {
        tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: time.subsec_nanos().into(),
    });
    let time = time.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
    // SAFETY: the word is the bell's, which lives as long as the borrow; the time is null or ours. The system only reads.
    unsafe {
        libc::syscall(libc::SYS_futex, bell.word(), libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, Bell::SLEEPING, time);
    }
}

/// Wakes the thread that sleeps beside the bell, after the word has changed.
pub(crate) fn wake(bell: &Bell) {
    // SAFETY: as above; the system does not even read.
    unsafe {
        libc::syscall(libc::SYS_futex, bell.word(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1);
    }
}
