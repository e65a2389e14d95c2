//! RCU from the outside: sections, grace periods, cookies, callbacks, barriers.

use haybarn::sync::{Counter, Published};
use haybarn::{Error, rcu};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError};
use std::thread;

/// There is one RCU in a process: tests that look at single periods take turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn sections_nest() {
    let _alone = alone();
    assert!(!rcu::is_reading());
    let outer = rcu::read_lock();
    let inner = rcu::read_lock();
    assert!(rcu::is_reading());
    drop(outer);
    assert!(rcu::is_reading(), "the inner one is still there");
    drop(inner);
    assert!(!rcu::is_reading());
}

#[test]
fn raw_sections_are_the_same() {
    let _alone = alone();
    // SAFETY: ended twice below.
    unsafe {
        rcu::read_lock_raw();
        rcu::read_lock_raw();
        assert!(rcu::is_reading());
        rcu::read_unlock_raw();
        assert!(rcu::is_reading());
        rcu::read_unlock_raw();
    }
    assert!(!rcu::is_reading());
}

#[test]
fn waiting_in_a_section_is_an_error_and_does_nothing() {
    let _alone = alone();
    let cookie = rcu::get_state();
    let section = rcu::read_lock();
    assert_eq!(rcu::synchronize(), Err(Error::InReadSection { what: "rcu::synchronize" }));
    assert_eq!(rcu::cond_synchronize(cookie), Err(Error::InReadSection { what: "rcu::cond_synchronize" }));
    assert_eq!(rcu::barrier(), Err(Error::InReadSection { what: "rcu::barrier" }));
    drop(section);
    assert_eq!(rcu::synchronize(), Ok(()));
}

/// A section on another thread, from its return to its drop.
struct Reader {
    end: std::sync::mpsc::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Reader {
    fn start() -> Self {
        let (begun, has_begun) = channel();
        let (end, ends) = channel();
        let thread = thread::spawn(move || {
            let _section = rcu::read_lock();
            begun.send(()).unwrap();
            let _ = ends.recv();
        });
        has_begun.recv().unwrap();
        Self { end, thread }
    }

    fn end(self) {
        drop(self.end);
        self.thread.join().unwrap();
    }
}

fn poll_until_over(cookie: rcu::Cookie) {
    while !rcu::poll_state(cookie) {
        thread::yield_now();
    }
}

#[test]
fn a_reader_holds_a_period_up_and_later_ones_do_not() {
    let _alone = alone();
    let reader = Reader::start();
    let cookie = rcu::get_state();
    for _ in 0..100 {
        assert!(!rcu::poll_state(cookie));
    }
    // A reader that begins after the period has begun is not waited for.
    let late = Reader::start();
    reader.end();
    let two = rcu::get_state();
    poll_until_over(cookie);
    for _ in 0..100 {
        assert!(!rcu::poll_state(two), "the late reader is before this cookie");
    }
    late.end();
    poll_until_over(two);
    assert_eq!(rcu::cond_synchronize(two), Ok(()));
}

#[test]
fn synchronize_waits_for_a_reader_of_another_thread() {
    let _alone = alone();
    let reader = Reader::start();
    let waited = Arc::new(Published::new(0));
    let waiter = thread::spawn({
        let waited = waited.clone();
        move || {
            rcu::synchronize().unwrap();
            assert_eq!(waited.read(), 1, "synchronize returned before the section ended");
        }
    });
    for _ in 0..1000 {
        thread::yield_now();
    }
    waited.publish(1);
    reader.end();
    waiter.join().unwrap();
}

#[test]
fn a_thread_that_ends_in_a_section_has_ended_it() {
    let _alone = alone();
    thread::spawn(|| core::mem::forget(rcu::read_lock())).join().unwrap();
    assert_eq!(rcu::synchronize(), Ok(()));
}

struct ReadsAtTheEnd(Arc<Counter>);

impl Drop for ReadsAtTheEnd {
    fn drop(&mut self) {
        let still = rcu::is_reading();
        drop(rcu::read_lock());
        self.0.add(u64::from(still && rcu::is_reading()));
    }
}

thread_local! {
    static LAST: std::cell::RefCell<Option<ReadsAtTheEnd>> = const { std::cell::RefCell::new(None) };
}

#[test]
fn destructors_of_thread_locals_are_still_in_the_threads_section() {
    let _alone = alone();
    let seen = Arc::new(Counter::new());
    let inside = seen.clone();
    thread::spawn(move || {
        LAST.set(Some(ReadsAtTheEnd(inside)));
        core::mem::forget(rcu::read_lock());
    })
    .join()
    .unwrap();
    assert_eq!(seen.get(), 1);
    assert_eq!(rcu::synchronize(), Ok(()));
}

#[test]
fn records_of_ended_threads_are_used_again() {
    let _alone = alone();
    for _ in 0..300 {
        thread::spawn(|| drop(rcu::read_lock())).join().unwrap();
    }
    assert!(rcu::stats().records < 64, "{:?}", rcu::stats());
}

#[test]
fn a_cookie_that_nobody_gave_out_is_refused() {
    let _alone = alone();
    let cookie = rcu::Cookie(u64::MAX);
    assert!(!rcu::poll_state(cookie));
    let text = rcu::cond_synchronize(cookie).unwrap_err().to_string();
    assert!(text.contains("cookie = 18446744073709551615 is not legal: what rcu::get_state() has returned"), "{text}");
    poll_until_over(rcu::get_state());
}

#[test]
fn a_barrier_waits_for_callbacks() {
    let _alone = alone();
    let ran = Arc::new(Counter::new());
    for _ in 0..1000 {
        let ran = ran.clone();
        rcu::call(Box::new(move || ran.add(1)));
    }
    rcu::barrier().unwrap();
    assert_eq!(ran.get(), 1000);
    let stats = rcu::stats();
    assert!(stats.callbacks_run >= 1000 && stats.grace_periods > 0, "{stats:?}");
    assert_eq!(stats.callbacks_queued, stats.callbacks_run, "{stats:?}");
    assert!(stats.rows().iter().all(|(name, _, help)| !name.is_empty() && help.ends_with('.')));
}

#[test]
fn a_callback_waits_for_readers_and_a_barrier_for_the_callback() {
    let _alone = alone();
    let reader = Reader::start();
    let ran = Arc::new(Published::new(0));
    rcu::call(Box::new({
        let ran = ran.clone();
        move || ran.publish(1)
    }));
    for _ in 0..100 {
        thread::yield_now();
        assert_eq!(ran.read(), 0);
    }
    reader.end();
    rcu::barrier().unwrap();
    assert_eq!(ran.read(), 1);
}

#[test]
fn a_barrier_waits_for_a_callback_that_another_thread_runs() {
    let _alone = alone();
    let inside = Arc::new(Barrier::new(2));
    let done = Arc::new(Published::new(0));
    rcu::call(Box::new({
        let (inside, done) = (inside.clone(), done.clone());
        move || {
            inside.wait();
            for _ in 0..1000 {
                thread::yield_now();
            }
            done.publish(1);
        }
    }));
    inside.wait();
    rcu::barrier().unwrap();
    assert_eq!(done.read(), 1);
}

#[test]
fn a_panic_in_a_callback_harms_no_other() {
    let _alone = alone();
    let before = rcu::stats().callback_panics;
    let ran = Arc::new(Counter::new());
    rcu::call(Box::new(|| std::panic::resume_unwind(Box::new("on purpose"))));
    let after = ran.clone();
    rcu::call(Box::new(move || after.add(1)));
    rcu::barrier().unwrap();
    assert_eq!(ran.get(), 1);
    assert_eq!(rcu::stats().callback_panics, before + 1);
}

#[test]
fn a_callback_may_queue_another_and_may_not_wait_for_itself() {
    let _alone = alone();
    let (tell, hear) = channel();
    rcu::call(Box::new(move || {
        let refused = rcu::barrier();
        rcu::call(Box::new(move || tell.send(refused).unwrap()));
    }));
    assert_eq!(hear.recv().unwrap(), Err(Error::InCallback { what: "rcu::barrier" }));
}
