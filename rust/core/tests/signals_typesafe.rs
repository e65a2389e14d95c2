//! Frees into type-safe caches in signal handlers: the free that kills a slab has the service thread look at it, and takes no lock for
//! that, whatever the handler interrupts. The surest place is the middle of a fork: the thread that forks has every lock of the library
//! that a fork watches, the service's among them, when the hooks that were there before the library's run.

mod support;

use haybarn::sync::Counter;
use haybarn::{CacheArgs, RawCache, SlabFlags, Stat, rcu, service, set_virtual_cpu};
use std::cell::{Cell, RefCell};
use std::ptr::{NonNull, null_mut};
use std::time::{Duration, Instant};
use support::signals::handle;
use support::*;

thread_local! {
    /// The cache that this thread's handler uses.
    static CACHE: Cell<Option<RawCache>> = const { Cell::new(None) };
    /// What it frees if there is anything, and else what it allocates itself.
    static GIVEN: RefCell<Vec<NonNull<u8>>> = const { RefCell::new(Vec::new()) };
}

static HANDLED: Counter = Counter::new();

/// Takes whole slabs and gives them back, so that some die.
extern "C" fn kills_slabs(_: libc::c_int) {
    let Some(cache) = CACHE.get() else { return };
    HANDLED.add(1);
    if GIVEN.with_borrow(|given| !given.is_empty()) {
        return GIVEN.with_borrow_mut(|given| give(cache, given.drain(..)));
    }
    let mut objects = [None; 200];
    objects.iter_mut().for_each(|place| *place = cache.alloc(PLAIN));
    for object in objects.into_iter().flatten() {
        // SAFETY: ours.
        unsafe { cache.free(object) };
    }
}

/// A signal in the middle of a fork, to the thread that forks.
extern "C" fn forking() {
    if GIVEN.with_borrow(|given| !given.is_empty()) {
        // SAFETY: the handler is there.
        unsafe { libc::raise(libc::SIGUSR1) };
    }
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

fn wait_for_the_dead(cache: RawCache) {
    let late = Instant::now() + Duration::from_secs(20);
    while cache.dead_slabs() > 0 {
        assert!(Instant::now() < late, "the service thread ends the dead");
        std::thread::yield_now();
    }
}

/// Forks, and in the middle of that has a handler free what kills some slabs.
fn kill_in_a_fork(cache: RawCache) {
    let before = (HANDLED.get(), cache.stats().get(Stat::FreeSlab));
    GIVEN.set(take_many(cache, 200));
    // SAFETY: the child does nothing.
    match unsafe { libc::fork() } {
        // SAFETY: the end of the child.
        0 => unsafe { libc::_exit(0) },
        child => {
            assert!(child > 0, "a fork");
            // SAFETY: nobody is told how it ended.
            assert_eq!(unsafe { libc::waitpid(child, null_mut(), 0) }, child);
        }
    }
    assert_eq!(HANDLED.get(), before.0 + 1);
    assert!(cache.stats().get(Stat::FreeSlab) > before.1, "no slab died");
    // Nobody but the service thread looks at them, so it was rung for.
    wait_for_the_dead(cache);
}

#[test]
fn frees_in_handlers_kill_slabs_while_the_service_is_locked() {
    // SAFETY: the hook is a function. The library, of which nothing has run yet, takes its locks before this one's turn comes. A handler
    // that waits for a lock which its own thread has waits for ever: then the alarm ends the process.
    unsafe {
        assert_eq!(libc::pthread_atfork(Some(forking), None, None), 0);
        libc::alarm(300);
    }
    handle(libc::SIGUSR1, kills_slabs);
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
                // Its lock, again and again.
                let _is_there = service::is_running();
            }
            // Readers that come and go let the dead ripen, and keep some.
            let _reading = rcu::read_lock();
            give(cache, take_many(cache, 3));
        }
        drop(timer);
        CACHE.set(Some(cache));
        wait_for_the_dead(cache);
        for _ in 0..50 {
            kill_in_a_fork(cache);
        }
        CACHE.set(None);
        assert!(HANDLED.get() > before + 100, "{} signals were handled", HANDLED.get() - before);
        assert!(cache.stats().get(Stat::FreeSlab) > 100, "slabs died: {:?}", cache.stats());
        wait_for_the_dead(cache);
        end(cache);
    }
}
