//! Who looks after aged frees: the service thread, which may be stopped, refused by the system, or the parent's.

mod support;

use haybarn::sync::Published;
use haybarn::{Arena, RawCache, rcu, service};
use std::thread;
use std::time::{Duration, Instant};
use support::process::{child, is_child, output};
use support::*;

/// Far more than the two seconds that are promised, for a machine that is busy.
const AGE: Duration = Duration::from_secs(15);

fn free_one(cache: RawCache) {
    // SAFETY: the object is this call's.
    unsafe { cache.free_rcu(take(cache)) }.unwrap();
}

/// Whether nothing waits any more in time, though nobody frees.
fn ages(cache: RawCache) -> bool {
    let end = Instant::now() + AGE;
    while cache.rcu_pending() > 0 && Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
    }
    cache.rcu_pending() == 0
}

fn cache() -> RawCache {
    create(Arena::global().unwrap(), "aged", 64, &haybarn::CacheArgs::default())
}

#[test]
fn child_frees_in_a_fork() {
    if !is_child() {
        return;
    }
    // Parent and child free on the same CPU, whose rcu sheaf has room.
    // SAFETY: a set of CPUs is a plain structure, and it is ours.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(libc::sched_getcpu() as usize, &mut set);
        assert_eq!(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set), 0);
    }
    let cache = cache();
    free_one(cache);
    let code = in_child(|| {
        free_one(cache);
        i32::from(!ages(cache))
    });
    assert_eq!(code, 0, "a child's frees do not age");
    assert!(ages(cache));
}

#[test]
fn frees_age_in_a_forked_child_too() {
    output(child("child_frees_in_a_fork"));
}

static STAGE: Published = Published::new(0);

fn wait_for(stage: u64) {
    while STAGE.read() != stage {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Work of the service thread that comes before its look at the caches.
struct Before;

impl service::Task for Before {
    fn run(&self) -> Option<Duration> {
        if STAGE.read() == 0 {
            STAGE.publish(1);
            wait_for(2);
        }
        None
    }
}

/// Runs when the fork has every lock of the library: the service thread goes on to the caches.
extern "C" fn before_the_fork() {
    if STAGE.read() == 1 {
        STAGE.publish(2);
        thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn child_forks_while_the_service_looks_at_caches() {
    if !is_child() {
        return;
    }
    // The first handlers run last.
    // SAFETY: the function lives as long as the process.
    assert_eq!(unsafe { libc::pthread_atfork(Some(before_the_fork), None, None) }, 0);
    // Tasks run in the order of their registration.
    service::register(&Before);
    let cache = cache();
    free_one(cache);
    wait_for(1);
    let code = in_child(|| {
        free_one(cache);
        i32::from(!ages(cache))
    });
    assert_eq!(code, 0, "the child's service thread waits for a lock of the parent's");
    assert!(ages(cache));
}

#[test]
fn a_fork_while_the_service_looks_at_caches() {
    output(child("child_forks_while_the_service_looks_at_caches"));
}

#[test]
fn child_stops_and_allows() {
    if !is_child() {
        return;
    }
    let cache = cache();
    free_one(cache);
    // The service knows of it by now, and would come back later.
    while !service::is_running() {
        thread::yield_now();
    }
    thread::sleep(Duration::from_millis(100));
    service::stop();
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(cache.rcu_pending(), 1, "nobody was there to look");
    service::allow();
    assert!(ages(cache), "what was to be done when the service was stopped is forgotten");
}

#[test]
fn what_a_stop_left_is_done_when_the_service_is_allowed_again() {
    output(child("child_stops_and_allows"));
}

/// Sets how much address space this process may have; gives what it might before.
fn limit_memory(limit: libc::rlimit) -> libc::rlimit {
    let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both structures are ours.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_AS, &raw mut before), 0);
        assert_eq!(libc::setrlimit(libc::RLIMIT_AS, &raw const limit), 0);
    }
    before
}

#[test]
fn child_has_no_thread_to_give() {
    if !is_child() {
        return;
    }
    let cache = cache();
    let object = take(cache);
    assert!(!service::is_running());
    // No stack for another thread.
    let before = limit_memory(libc::rlimit { rlim_cur: 0, rlim_max: libc::RLIM_INFINITY });
    let refused = rcu::stats().service_refused;
    // SAFETY: the test's object.
    unsafe { cache.free_rcu(object) }.unwrap();
    let refused = rcu::stats().service_refused - refused;
    limit_memory(before);
    assert_eq!(refused, 1);
    // The next batch asks again.
    for _ in 0..200 {
        free_one(cache);
    }
    assert!(ages(cache), "a service thread that was refused once is never asked for again");
}

#[test]
fn a_thread_that_the_system_refuses_is_asked_for_again() {
    output(child("child_has_no_thread_to_give"));
}
