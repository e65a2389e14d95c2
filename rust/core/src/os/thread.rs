//! What a thread asks of the system about itself and its machine.

/// The CPU that the thread runs on; it may have moved when the caller looks at the number.
pub(crate) fn current_cpu() -> u32 {
    // SAFETY: no arguments, no memory of ours.
    let cpu = unsafe { libc::sched_getcpu() };
    // The call fails only where the kernel has no getcpu at all; CPU 0's slot serves everybody there.
    u32::try_from(cpu).unwrap_or(0)
}

/// Lets another thread run: for drains, never on the way of alloc or free.
pub(crate) fn yield_now() {
    #[cfg(not(shuttle))]
    std::thread::yield_now();
    #[cfg(shuttle)]
    shuttle::thread::yield_now();
}

/// Bytes of a page of the system's.
pub(crate) fn page_size() -> usize {
    // SAFETY: reads a number; it has no preconditions.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(0)
}
