//! The system calls of stress: CPU affinity of the calling thread, fork and wait.

use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::time::{Duration, Instant};

/// The CPUs that the calling thread may use now; empty where the system does not say.
pub fn allowed_cpus() -> Vec<usize> {
    // SAFETY: an all-zero set is a valid value; the call writes at most the given size.
    unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) != 0 {
            return Vec::new();
        }
        (0..8 * size_of::<libc::cpu_set_t>()).filter(|cpu| libc::CPU_ISSET(*cpu, &set)).collect()
    }
}

/// Moves the calling thread to `cpu`. Where that is refused the thread stays; the scheduler then moves it as it likes.
pub fn move_to(cpu: usize) {
    // SAFETY: an all-zero set is a valid value, and `cpu` came from a set of this size; the call only reads the set.
    unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

/// How a child came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Signal(i32),
    /// It was killed because it had not ended in time.
    Hung,
    /// There was no child: fork failed with this error number.
    NotForked(i32),
}

/// The exit code of a child whose closure panicked.
pub const PANICKED: i32 = 99;

/// Runs `child` in a forked process, whose exit code is what it returns, and waits for its end, at most `patience`.
///
/// The child runs on a copy of this process in which only the calling thread goes on, so `child` must not need anything that another
/// thread may have held at the fork (a lock, standard error). The C library's heap is usable there.
pub fn fork_and_wait(patience: Duration, child: impl FnOnce() -> i32) -> End {
    // SAFETY: the child only runs the closure, under the conditions above, and leaves by _exit, without running this process's
    // exit handlers.
    let pid = unsafe {
        let pid = libc::fork();
        if pid == 0 {
            libc::_exit(panic::catch_unwind(AssertUnwindSafe(child)).unwrap_or(PANICKED));
        }
        pid
    };
    if pid < 0 {
        return End::NotForked(std::io::Error::last_os_error().raw_os_error().unwrap_or(0));
    }
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_micros(50);
    while Instant::now() < deadline {
        if let Some(end) = ended(pid, libc::WNOHANG) {
            return end;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
    // SAFETY: `pid` is our own child, not waited for yet, so the number cannot belong to another process.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    ended(pid, 0);
    End::Hung
}

fn ended(pid: libc::pid_t, options: i32) -> Option<End> {
    let mut status = 0;
    // SAFETY: writes one integer.
    if unsafe { libc::waitpid(pid, &raw mut status, options) } != pid {
        return None;
    }
    Some(if libc::WIFSIGNALED(status) {
        End::Signal(libc::WTERMSIG(status))
    } else {
        End::Exited(libc::WEXITSTATUS(status))
    })
}

#[cfg(test)]
#[path = "platform_tests.rs"]
mod tests;
