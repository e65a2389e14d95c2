//! Wall time and the thread's own CPU time of one round.

use std::time::Instant;

/// What one round took.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Nanoseconds by the wall clock.
    pub wall: u64,
    /// Nanoseconds that the thread ran (of several threads: the least).
    pub cpu: u64,
}

impl Sample {
    /// Whether a thread was off its CPU for more than a twentieth of the round, so that the round measured the machine.
    #[must_use]
    pub fn disturbed(&self) -> bool {
        self.wall.saturating_sub(self.cpu) > self.wall / 20
    }
}

/// Runs `work` and times it on this thread.
pub fn timed(work: impl FnOnce()) -> Sample {
    let cpu = thread_cpu();
    let wall = Instant::now();
    work();
    let wall = nanoseconds(wall.elapsed());
    Sample { wall, cpu: thread_cpu() - cpu }
}

/// A duration in whole nanoseconds.
#[must_use]
pub fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds of CPU that this thread has used.
#[must_use]
pub fn thread_cpu() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on every Linux and `time` is valid for the write.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(failed, 0, "clock_gettime(CLOCK_THREAD_CPUTIME_ID)");
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}
