//! Frees into type-safe caches in signal handlers: the free that kills a slab has the service thread look at it, and takes no lock for
//! that, whatever the handler interrupts.

mod support;

use haybarn::sync::Counter;
use haybarn::{CacheArgs, RawCache, SlabFlags, Stat, rcu, service, set_virtual_cpu};
use std::cell::Cell;
use std::ptr::null_mut;
use std::time::{Duration, Instant};
use support::*;

thread_local! {
    /// The cache that this thread's handler uses.
    static CACHE: Cell<Option<RawCache>> = const { Cell::new(None) };
}

static HANDLED: Counter = Counter::new();

/// Takes whole slabs and gives them back, so that some die.
extern "C" fn kills_slabs(_: libc::c_int) {
    let Some(cache) = CACHE.get() else { return };
    let mut objects = [None; 200];
    objects.iter_mut().for_each(|place| *place = cache.alloc(PLAIN));
    for object in objects.into_iter().flatten() {
        // SAFETY: ours.
        unsafe { cache.free(object) };
    }
    HANDLED.add(1);
}

/// Signals to the calling thread, one at a time: handlers that follow one another leave no time for anything else.
struct Timer(libc::timer_t);

impl Timer {
    fn start() -> Self {
        // SAFETY: zeroes are legal for all of them; what the calls write is ours.
        unsafe {
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = libc::SIGUSR1;
            event.sigev_notify_thread_id = libc::gettid();
            let mut timer = std::mem::zeroed();
            assert_eq!(libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer), 0);
            Self(timer)
        }
    }

    /// One signal soon.
    fn soon(&self, nanoseconds: i64) {
        let once = libc::timespec { tv_sec: 0, tv_nsec: nanoseconds };
        let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let times = libc::itimerspec { it_interval: never, it_value: once };
        // SAFETY: the timer is ours, and the times are.
        assert_eq!(unsafe { libc::timer_settime(self.0, 0, &raw const times, null_mut()) }, 0);
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: made above.
        unsafe { libc::timer_delete(self.0) };
        CACHE.set(None);
    }
}

#[test]
fn frees_in_handlers_kill_slabs_while_the_service_is_locked() {
    // SAFETY: a zeroed `sigaction` is one without flags and with an empty mask; the handler calls what is allowed there.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = kills_slabs as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_RESTART;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &raw const action, null_mut()), 0);
    }
    for arena in every_arena() {
        let args = CacheArgs { flags: SlabFlags::TYPESAFE_BY_RCU, sheaf_capacity: 2, ..CacheArgs::default() };
        let cache = create(arena, "signals-typesafe", 4096, &args);
        assert!(service::is_running(), "it is there before a handler could need it");
        set_virtual_cpu(Some(0));
        CACHE.set(Some(cache));
        let (before, late) = (HANDLED.get(), Instant::now() + Duration::from_secs(20));
        let timer = Timer::start();
        while HANDLED.get() < before + 300 && Instant::now() < late {
            let handled = HANDLED.get();
            timer.soon(1000 + (handled * 37 % 3000).cast_signed());
            while HANDLED.get() == handled {
                // Its lock, again and again. A handler that waits for it waits for ever; the test's time limit is the runner's.
                let _is_there = service::is_running();
            }
            // Readers that come and go let the dead ripen, and keep some.
            let _reading = rcu::read_lock();
            give(cache, take_many(cache, 3));
        }
        drop(timer);
        assert!(HANDLED.get() > before + 100, "{} signals were handled", HANDLED.get() - before);
        assert!(cache.stats().get(Stat::FreeSlab) > 100, "slabs died: {:?}", cache.stats());
        let late = Instant::now() + Duration::from_secs(20);
        while cache.dead_slabs() > 0 {
            assert!(Instant::now() < late, "the service thread ends the dead");
            std::thread::yield_now();
        }
        end(cache);
    }
}
