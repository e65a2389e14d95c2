//! Read sections in signal handlers, whatever they interrupt: an entry, a leave, a thread's first section.

mod support;

use haybarn::rcu;
use haybarn::sync::{Counter, Published};
use std::thread;
use support::signals::*;

static HANDLED: Counter = Counter::new();
static FAULTS: Counter = Counter::new();

/// What the interrupted thread sees of its sections is what it saw before.
extern "C" fn reads(_: libc::c_int) {
    let before = rcu::is_reading();
    {
        let _outer = rcu::read_lock();
        let _inner = rcu::read_lock();
        FAULTS.add(u64::from(!rcu::is_reading()));
    }
    FAULTS.add(u64::from(rcu::is_reading() != before));
    HANDLED.add(1);
}

#[test]
fn handlers_read_in_the_middle_of_everything() {
    handle(libc::SIGUSR1, reads);
    let stop = Published::new(0);
    let rounds = Counter::new();
    let target = Counter::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            introduce(&target);
            while stop.read() == 0 {
                let outer = rcu::read_lock();
                let inner = rcu::read_lock();
                drop(outer);
                FAULTS.add(u64::from(!rcu::is_reading()));
                drop(inner);
                FAULTS.add(u64::from(rcu::is_reading()));
                rounds.add(1);
            }
        });
        for _ in 0..3000 {
            send(&target, libc::SIGUSR1);
            // Nothing of it is left behind that a period would wait for.
            rcu::synchronize().unwrap();
        }
        stop.publish(1);
    });
    assert_eq!(FAULTS.get(), 0);
    assert!(HANDLED.get() > 0 && rounds.get() > 0);
    first_section_of_a_thread_in_a_handler();
}

/// The thread has no record yet when its handler reads; raised by the thread itself, so that none is missed.
fn first_section_of_a_thread_in_a_handler() {
    let before = HANDLED.get();
    for _ in 0..100 {
        thread::spawn(|| {
            // SAFETY: raises a handled signal.
            unsafe { libc::raise(libc::SIGUSR1) };
            assert!(!rcu::is_reading());
            drop(rcu::read_lock());
        })
        .join()
        .unwrap();
    }
    assert_eq!(HANDLED.get(), before + 100);
    assert_eq!(FAULTS.get(), 0);
    rcu::synchronize().unwrap();
    assert!(rcu::stats().records <= 3, "records of ended threads are used again: {:?}", rcu::stats());
}
