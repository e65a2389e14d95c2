//! membarrier(2): a fence, or the end of restartable sequences, in threads that run elsewhere.
//!
//! Source: membarrier(2), `MEMBARRIER_CMD_PRIVATE_EXPEDITED` (Linux 4.14) and `MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ` (5.10).

use crate::sync::Bug;
use std::io;

const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;
const PRIVATE_EXPEDITED_RSEQ: libc::c_int = 1 << 7;
const REGISTER_PRIVATE_EXPEDITED_RSEQ: libc::c_int = 1 << 8;
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

/// Registers the process for [`fence_everybody`]. From signal handlers too; again does no harm.
///
/// # Errors
/// As [`register`]'s.
pub(crate) fn register_fences() -> io::Result<()> {
    membarrier(REGISTER_PRIVATE_EXPEDITED, 0, 0)
}

/// Returns when every thread of the process has passed a full fence since the call began.
///
/// # Panics
/// If the kernel takes back what [`register_fences`] got: going on would free what a reader may still read.
pub(crate) fn fence_everybody() {
    let done = membarrier(PRIVATE_EXPEDITED, 0, 0)
        .or_else(|_| register_fences().and_then(|()| membarrier(PRIVATE_EXPEDITED, 0, 0)));
    if let Err(error) = done {
        panic!("membarrier was refused after registration: {error}");
    }
}
