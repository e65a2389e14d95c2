//! What a thread asks of the system about itself and its machine.

use core::ffi::{CStr, c_int, c_void};
use core::mem::{MaybeUninit, forget};
use core::ptr::null_mut;
use std::io;

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
    crate::sync::yield_to_others();
}

/// Bytes of a page of the system's.
pub(crate) fn page_size() -> usize {
    // SAFETY: reads a number; it has no preconditions.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(0)
}

/// The system's number of the calling thread, as in /proc/self/task.
pub(crate) fn thread_id() -> u64 {
    // SAFETY: no arguments, no memory of ours.
    u64::try_from(unsafe { libc::gettid() }).unwrap_or(0)
}

/// Whether the calling thread is the one that the process began with. That of a forked child is the thread that forked.
pub(crate) fn is_first() -> bool {
    thread_id() == u64::from(std::process::id())
}

/// Whether no other thread of the process is left, but for a first one that has ended; false where the system does not say.
pub(crate) fn is_last() -> bool {
    let own = thread_id().to_string();
    let has_ended = |task: std::fs::DirEntry| {
        // The state follows the name, which is in parentheses and may hold some itself.
        let text = std::fs::read_to_string(task.path().join("stat"));
        text.is_ok_and(|text| text.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X'])))
    };
    std::fs::read_dir("/proc/self/task").is_ok_and(|mut tasks| {
        tasks.all(|task| task.is_ok_and(|task| task.file_name().to_str() == Some(&own) || has_ended(task)))
    })
}

/// A number that no other living thread of the process has; a forked child's thread keeps it. Never 0.
#[inline(always)]
pub(crate) fn token() -> usize {
    thread_pointer()
}

/// The address of the thread's control block, which the ABI keeps in a register: one instruction, where the address of a thread
/// local of a shared library is a call.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn thread_pointer() -> usize {
    let pointer;
    // SAFETY: by the System V ABI the word at fs:0 is its own address, for as long as the thread lives.
    unsafe {
        core::arch::asm!("mov {}, qword ptr fs:[0]", out(reg) pointer, options(pure, nomem, nostack, preserves_flags))
    };
    pointer
}

/// As on x86-64.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn thread_pointer() -> usize {
    let pointer;
    // SAFETY: reads a register that user space may read and that the ABI leaves alone for as long as the thread lives.
    unsafe { core::arch::asm!("mrs {}, tpidr_el0", out(reg) pointer, options(pure, nomem, nostack, preserves_flags)) };
    pointer
}

/// The address of something that each thread has.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn thread_pointer() -> usize {
    thread_local! {
        static PLACE: core::cell::Cell<u8> = const { core::cell::Cell::new(0) };
    }
    PLACE.with(|place| core::ptr::from_ref(place).addr())
}

/// Whether the process has more threads than the calling one; no where the system does not say.
pub(crate) fn has_others() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.take(2).count() > 1)
}

/// The name of a thread of this process; None once it has gone.
pub(crate) fn thread_name(id: u64) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/self/task/{id}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// Writes to standard error without a lock that a fork may have orphaned. What cannot be written is lost: there is nowhere
/// else to say so.
pub(crate) fn report(text: &str) {
    // SAFETY: the pointer and length are a live string's.
    let _ = unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
}

/// A thread that is not one of std's. Those take a lock of std's when they start and end; one that another thread held at a fork is
/// never free in the child, and a thread that the child started would never come to its work.
pub(crate) struct Thread(libc::pthread_t);

// SAFETY: any thread may join or detach one that is neither yet.
unsafe impl Send for Thread {}

impl Thread {
    /// As much as std gives unless it is told otherwise, in bytes: callbacks are the program's.
    const STACK: usize = 2 << 20;

    /// Starts one that runs `work` with all signals blocked, so never a handler of the program's.
    ///
    /// # Errors
    /// `EAGAIN`: the system has none to give. `EINVAL`: the program's thread locals leave no room on a stack.
    pub(crate) fn start(work: extern "C" fn(*mut c_void) -> *mut c_void) -> io::Result<Self> {
        let (mut attributes, mut thread) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        let attributes = attributes.as_mut_ptr();
        // SAFETY: the attributes are used between their setting up and their end, the thread's number once it has been written. The
        // function stays where it is: the library is never unloaded (docs/platform.md).
        unsafe {
            succeeded(libc::pthread_attr_init(attributes))?;
            let sized = succeeded(libc::pthread_attr_setstacksize(attributes, Self::STACK));
            let start = || succeeded(libc::pthread_create(thread.as_mut_ptr(), attributes, work, null_mut()));
            let started = sized.and_then(|()| without_signals(start));
            libc::pthread_attr_destroy(attributes);
            started.map(|()| Self(thread.assume_init()))
        }
    }

    /// Waits until it has ended.
    pub(crate) fn join(self) {
        // SAFETY: neither joined nor detached before: either takes the handle.
        let joined = succeeded(unsafe { libc::pthread_join(self.0, null_mut()) });
        debug_assert!(joined.is_ok(), "{joined:?}");
        forget(self);
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: as in `join`.
        unsafe { libc::pthread_detach(self.0) };
    }
}

/// Names the calling thread, in at most 15 bytes. The system shows the name; std does not know it.
pub(crate) fn name_self(name: &CStr) {
    // SAFETY: the call reads a string that ends. Longer ones are cut.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// What a function of pthreads returned.
fn succeeded(returned: c_int) -> io::Result<()> {
    if returned == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(returned)) }
}

/// Runs `start` with all signals blocked, for the thread that it starts.
fn without_signals<T>(start: impl FnOnce() -> T) -> T {
    // SAFETY: both sets are ours and written by the calls before they are read.
    unsafe {
        let mut all = core::mem::zeroed();
        let mut before = core::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let started = start();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, null_mut());
        started
    }
}

/// Calls `call` when the process ends by `exit` or by returning from `main`.
pub(crate) fn at_exit(call: extern "C" fn()) {
    // SAFETY: the function lives as long as the library. A refusal (no memory for one more) means no call.
    unsafe { libc::atexit(call) };
}

/// A key whose values' destructor runs in a thread that ends, after those of the language's thread locals.
///
/// # Errors
/// `EAGAIN`: the process has no key left.
pub(crate) fn exit_key(destructor: extern "C" fn(*mut c_void)) -> io::Result<u32> {
    let mut key = 0;
    let destructor: unsafe extern "C" fn(*mut c_void) = destructor;
    // SAFETY: `key` is ours, and the destructor takes any value.
    succeeded(unsafe { libc::pthread_key_create(&raw mut key, Some(destructor)) }).map(|()| key)
}

/// Takes back a key that was not used.
pub(crate) fn drop_exit_key(key: u32) {
    // SAFETY: the key is the caller's, and no thread has a value under it.
    unsafe { libc::pthread_key_delete(key) };
}

/// Sets the calling thread's value; a value that is not null is handed to the key's destructor.
///
/// # Errors
/// `ENOMEM`.
pub(crate) fn set_at_exit(key: u32, value: *mut c_void) -> io::Result<()> {
    // SAFETY: the key was made by `exit_key`.
    succeeded(unsafe { libc::pthread_setspecific(key, value) })
}

/// Nanoseconds of a clock that never goes back.
pub(crate) fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}
