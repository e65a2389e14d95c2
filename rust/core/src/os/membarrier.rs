//! membarrier's rseq command: every restartable sequence in flight on a CPU is over when it returns.
//!
//! Source: membarrier(2), `MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ` (Linux 5.10).

use crate::sync::Bug;
use std::io;

const REGISTER_PRIVATE_EXPEDITED_RSEQ: libc::c_int = 1 << 8;
const PRIVATE_EXPEDITED_RSEQ: libc::c_int = 1 << 7;
const FLAG_CPU: libc::c_uint = 1;

fn membarrier(command: libc::c_int, flags: libc::c_uint, cpu: libc::c_int) -> io::Result<()> {
    // SAFETY: the call reads no memory of ours.
    match unsafe { libc::syscall(libc::SYS_membarrier, command, flags, cpu) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Registers the process for [`restart_sequences`].
///
/// # Errors
/// The kernel's refusal: too old (`EINVAL`), or filtered by a container (`EPERM`, `ENOSYS`).
pub(crate) fn register() -> io::Result<()> {
    membarrier(REGISTER_PRIVATE_EXPEDITED_RSEQ, 0, 0)
}

/// Returns when no restartable sequence that was running on `cpu` before the call can still commit.
///
/// # Panics
/// If the kernel takes back what [`register`] got: going on would hand one object to two owners.
pub(crate) fn restart_sequences(cpu: u32) {
    if Bug::NoMembarrier.planted() {
        return;
    }
    let cpu = cpu as libc::c_int;
    let done = membarrier(PRIVATE_EXPEDITED_RSEQ, FLAG_CPU, cpu)
        .or_else(|_| register().and_then(|()| membarrier(PRIVATE_EXPEDITED_RSEQ, FLAG_CPU, cpu)));
    if let Err(error) = done {
        // An offline CPU runs no sequence.
        assert!(error.raw_os_error() == Some(libc::ENXIO), "membarrier was refused after registration: {error}");
    }
}
