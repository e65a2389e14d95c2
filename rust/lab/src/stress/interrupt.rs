//! A timer that interrupts the calling thread, and what its handler may see: the address of the interrupted instruction.

use std::cell::Cell;
use std::io;
use std::mem::zeroed;
use std::ops::Range;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// What is called inside the signal handler, on the thread that was interrupted. No lock, no allocation, nothing that waits.
pub(super) trait Interrupt {
    /// `at` is the address of the interrupted instruction.
    fn interrupted(&self, at: usize);
}

/// A handler that took so long leaves its thread as long in peace: else one that finds memory short, and looks for it in vain
/// again and again, takes all of the thread's time. Not longer than this: it may have waited for its CPU.
const LONG: Range<Duration> = Duration::from_micros(50)..Duration::from_millis(1);

thread_local! {
    /// What this thread's handler calls. Plain and without a destructor, here and below: touching it in a handler allocates nothing.
    static MINE: Cell<Option<*const (dyn Interrupt + 'static)>> = const { Cell::new(None) };
    /// Until when it calls nothing.
    static PEACE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Interrupts the thread that started it until it is dropped, on the same thread.
pub(super) struct Ticker<'i> {
    timer: libc::timer_t,
    interrupt: std::marker::PhantomData<&'i dyn Interrupt>,
}

impl<'i> Ticker<'i> {
    /// Calls `interrupt` every `period` that the thread is there to be interrupted, unless the calls take most of the time.
    ///
    /// # Errors
    /// What the system said: no signal is free, or it has no timer to give.
    pub fn start(interrupt: &'i dyn Interrupt, period: Duration) -> Result<Self, String> {
        let signal = signal()?;
        let interrupt: *const (dyn Interrupt + 'i) = interrupt;
        // SAFETY: only the lifetime changes. The pointer is followed by this thread's handler while it is set, and `drop` unsets
        // it before the borrow ends; a ticker that is never dropped leaves the timer running, so it must not be leaked, and this
        // module's callers do not.
        let interrupt: *const (dyn Interrupt + 'static) = unsafe { std::mem::transmute(interrupt) };
        MINE.set(Some(interrupt));
        // SAFETY: all-zero values of these are valid; the calls write what is ours.
        unsafe {
            let mut event: libc::sigevent = zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = signal;
            event.sigev_notify_thread_id = libc::gettid();
            let mut timer: libc::timer_t = zeroed();
            if libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) != 0 {
                MINE.set(None);
                return Err(format!("timer_create: {}", io::Error::last_os_error()));
            }
            let ticker = Self { timer, interrupt: std::marker::PhantomData };
            let mut times: libc::itimerspec = zeroed();
            times.it_interval.tv_nsec = libc::c_long::try_from(period.as_nanos()).map_err(|error| error.to_string())?;
            times.it_value = times.it_interval;
            if libc::timer_settime(timer, 0, &raw const times, null_mut()) != 0 {
                return Err(format!("timer_settime: {}", io::Error::last_os_error()));
            }
            Ok(ticker)
        }
    }
}

impl Drop for Ticker<'_> {
    fn drop(&mut self) {
        // SAFETY: the timer is ours. A signal of it that is still on its way finds nothing to call.
        unsafe { libc::timer_delete(self.timer) };
        MINE.set(None);
    }
}

/// A signal that nobody else uses, with our handler from now on.
fn signal() -> Result<libc::c_int, String> {
    static SIGNAL: OnceLock<Result<libc::c_int, String>> = OnceLock::new();
    let take = || {
        for signal in (libc::SIGRTMIN() + 3..libc::SIGRTMAX()).rev() {
            // SAFETY: all-zero values are valid; the handler keeps to what handlers may do.
            unsafe {
                let mut there: libc::sigaction = zeroed();
                libc::sigaction(signal, null_mut(), &raw mut there);
                if there.sa_sigaction != libc::SIG_DFL {
                    continue;
                }
                let mut ours: libc::sigaction = zeroed();
                ours.sa_sigaction =
                    handler as extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) as usize;
                ours.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
                if libc::sigaction(signal, &raw const ours, null_mut()) == 0 {
                    return Ok(signal);
                }
            }
        }
        Err("no real-time signal is free".to_owned())
    };
    SIGNAL.get_or_init(take).clone()
}

extern "C" fn handler(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let Some(interrupt) = MINE.get() else { return };
    // SAFETY: the system passes the interrupted thread's context; the pointer is set while what it leads to is borrowed.
    unsafe {
        let errno = *libc::__errno_location();
        let start = Instant::now();
        if PEACE.get().is_none_or(|peace| start >= peace) {
            (*interrupt).interrupted(address(&*context.cast()));
            let took = start.elapsed();
            PEACE.set((took > LONG.start).then(|| start + took + took.min(LONG.end)));
        }
        *libc::__errno_location() = errno;
    }
}

/// The address of the interrupted instruction.
fn address(context: &libc::ucontext_t) -> usize {
    #[cfg(target_arch = "x86_64")]
    let address = context.uc_mcontext.gregs[libc::REG_RIP as usize];
    #[cfg(target_arch = "aarch64")]
    let address = context.uc_mcontext.pc;
    address as usize
}
