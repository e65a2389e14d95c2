//! fork at every stage of a grace period and of a callback: the child never hangs, and has what was queued.
//!
//! A child may neither panic nor print (see `support::in_child`): its exit code says what it found.

mod support;

use haybarn::sync::{Counter, Published};
use haybarn::{rcu, service};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use support::in_child;

/// Forks take turns: what a test queued must not be run by another's barrier in the middle.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count(counter: &Arc<Counter>) -> Box<dyn FnOnce() + Send> {
    let counter = counter.clone();
    Box::new(move || counter.add(1))
}

#[test]
fn readers_of_the_parent_hold_up_nobody_in_the_child() {
    let _alone = alone();
    let (begun, has_begun) = channel();
    let (end, ends) = channel::<()>();
    let reader = thread::spawn(move || {
        let _section = rcu::read_lock();
        begun.send(()).unwrap();
        let _ = ends.recv();
    });
    has_begun.recv().unwrap();
    // In the middle of a period.
    let cookie = rcu::get_state();
    assert!(!rcu::poll_state(cookie));
    let code = in_child(|| i32::from(rcu::cond_synchronize(cookie).is_err()));
    assert!(!rcu::poll_state(cookie), "the parent's reader is still there");
    drop(end);
    reader.join().unwrap();
    rcu::cond_synchronize(cookie).unwrap();
    assert_eq!(code, 0);
}

#[test]
fn the_forking_thread_keeps_its_sections() {
    let _alone = alone();
    let outer = rcu::read_lock();
    let inner = rcu::read_lock();
    let cookie = rcu::get_state();
    let code = in_child(|| {
        if rcu::synchronize().is_ok() || rcu::poll_state(cookie) {
            return 1;
        }
        drop(inner);
        if !rcu::is_reading() || rcu::poll_state(cookie) {
            return 2;
        }
        drop(outer);
        if rcu::is_reading() { 3 } else { i32::from(rcu::cond_synchronize(cookie).is_err()) }
    });
    assert_eq!(code, 0);
    assert!(!rcu::is_reading(), "the parent's guards went with the closure");
}

#[test]
fn what_was_queued_before_exists_in_both() {
    let _alone = alone();
    service::stop();
    let ran = Arc::new(Counter::new());
    (0..10).for_each(|_| rcu::call(count(&ran)));
    // By a barrier that helps itself, and by a service thread of the child's own.
    let by_barrier = in_child(|| if rcu::barrier().is_ok() { ran.get() as i32 } else { 100 });
    let by_service = in_child(|| {
        service::allow();
        rcu::call(count(&ran));
        while ran.get() < 11 {
            thread::yield_now();
        }
        i32::from(!service::is_running())
    });
    assert_eq!(ran.get(), 0, "nobody ran them here");
    service::allow();
    rcu::barrier().unwrap();
    assert_eq!((by_barrier, by_service, ran.get()), (10, 0, 10));
}

/// The service thread is inside a callback when the process forks: that one is the parent's, the next ones are in both.
#[test]
fn while_a_callback_is_running() {
    let _alone = alone();
    let (tell, hear) = channel();
    let (end, ends) = channel::<()>();
    let ran = Arc::new(Counter::new());
    rcu::call(Box::new(move || {
        tell.send(()).unwrap();
        let _ = ends.recv();
    }));
    (0..5).for_each(|_| rcu::call(count(&ran)));
    hear.recv().unwrap();
    let code = in_child(|| {
        // The stuck one is not waited for, stop has nobody to wait for, and a new thread can be had.
        if rcu::barrier().is_err() || ran.get() != 5 {
            return 1;
        }
        service::stop();
        if service::is_running() {
            return 2;
        }
        service::allow();
        rcu::call(count(&ran));
        while ran.get() < 6 {
            thread::yield_now();
        }
        0
    });
    drop(end);
    rcu::barrier().unwrap();
    assert_eq!((code, ran.get()), (0, 5));
}

/// A callback that forks goes on in the child, as the only thread there is.
#[test]
fn inside_a_callback() {
    let _alone = alone();
    let ran = Arc::new(Counter::new());
    let (tell, hear) = channel();
    let after = ran.clone();
    rcu::call(Box::new(move || {
        let code = in_child(|| {
            // Still inside the callback: a barrier would wait for itself. A grace period is nobody's business but ours.
            if rcu::barrier().is_ok() || rcu::synchronize().is_err() {
                return 1;
            }
            service::stop();
            let next = after.clone();
            // Threads can be had, and run what is queued.
            thread::spawn(move || {
                rcu::call(count(&next));
                next.get() as i32
            })
            .join()
            .unwrap_or(2)
        });
        tell.send(code).unwrap();
    }));
    assert_eq!(hear.recv().unwrap(), 0);
    rcu::barrier().unwrap();
    assert_eq!(ran.get(), 0);
}

/// Forks again and again while others read, wait, call and stop.
#[test]
fn in_the_middle_of_everything() {
    let _alone = alone();
    let stop = Published::new(0);
    let busy = || stop.read() == 0;
    let codes: Vec<i32> = thread::scope(|scope| {
        scope.spawn(|| {
            while busy() {
                let _outer = rcu::read_lock();
                let _inner = rcu::read_lock();
            }
        });
        scope.spawn(|| {
            while busy() {
                rcu::synchronize().unwrap();
            }
        });
        scope.spawn(|| {
            while busy() {
                (0..20).for_each(|_| rcu::call(Box::new(thread::yield_now)));
                rcu::barrier().unwrap();
            }
        });
        scope.spawn(|| {
            while busy() {
                // Threads that come and go, each with a record.
                thread::scope(|inner| drop(inner.spawn(|| drop(rcu::read_lock()))));
            }
        });
        let codes = (0..60)
            .map(|_| {
                in_child(|| {
                    let counted = Arc::new(Counter::new());
                    rcu::call(count(&counted));
                    let waited = rcu::synchronize().is_ok() && rcu::barrier().is_ok() && rcu::synchronize().is_ok();
                    if waited && counted.get() == 1 && rcu::stats().records == 0 { 0 } else { 1 }
                })
            })
            .collect();
        stop.publish(1);
        codes
    });
    assert_eq!(codes, vec![0; 60]);
}

/// The child's service thread needs nothing that a thread of the parent's which was starting or ending may have held. One of std's
/// hung here within 100 to 400 forks.
#[test]
fn while_threads_start_and_end() {
    /// About four seconds; on a machine that is busy fewer.
    const FORKS: usize = 1000;
    const LONGEST: Duration = Duration::from_secs(15);
    /// Of each worker and between two forks. On a busy machine the kernel comes to freeing the stacks of so many threads much later.
    const ROUNDS: u64 = 2;
    let _alone = alone();
    let (stop, forks, end) = (Published::new(0), Counter::new(), Instant::now() + LONGEST);
    let wrong = thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut rounds = 0;
                while stop.read() == 0 {
                    if rounds < ROUNDS * (1 + forks.get()) {
                        rounds += 1;
                        thread::scope(|inner| (0..4).for_each(|_| drop(inner.spawn(|| ()))));
                    } else {
                        thread::yield_now();
                    }
                }
            });
        }
        let in_turn = (0..FORKS).take_while(|_| Instant::now() < end).map(|_| {
            forks.add(1);
            in_child(|| {
                let ran = Arc::new(Counter::new());
                rcu::call(count(&ran));
                while ran.get() == 0 {
                    thread::yield_now();
                }
                // It ends as well, too.
                service::stop();
                i32::from(service::is_running())
            })
        });
        let wrong = in_turn.enumerate().find(|&(_, code)| code != 0);
        stop.publish(1);
        wrong
    });
    eprintln!("{} forks", forks.get());
    assert_eq!(wrong, None, "the number of a fork and what its child said; 256 and the signal of the alarm if it hung");
}
