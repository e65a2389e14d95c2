//! What of RCU depends on how a process starts or on its limits: a refused membarrier, stall reports and their variable, no
//! memory for records, a service thread that sleeps.
//!
//! Each test runs this binary again with one of the `child_*` tests.

mod support;

use haybarn::{fault, rcu, service};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use support::process::{can_filter, child, is_child, output, refuse};

/// A thread that stays in a section until it is told.
fn reader(name: &str) -> (Sender<()>, JoinHandle<()>) {
    let (begun, has_begun) = channel();
    let (end, ends) = channel();
    let read = move || {
        let _section = rcu::read_lock();
        begun.send(()).unwrap();
        let _ = ends.recv();
    };
    let thread = thread::Builder::new().name(name.to_owned()).spawn(read).unwrap();
    has_begun.recv().unwrap();
    (end, thread)
}

#[test]
fn child_works() {
    if !is_child() {
        return;
    }
    println!("fence={}", rcu::reader_fence());
    let (end, thread) = reader("reads");
    let cookie = rcu::get_state();
    assert!(!rcu::poll_state(cookie));
    drop(end);
    thread.join().unwrap();
    rcu::cond_synchronize(cookie).unwrap();
    let (tell, hear) = channel();
    rcu::call(Box::new(move || tell.send(()).unwrap()));
    rcu::barrier().unwrap();
    hear.recv().unwrap();
}

#[test]
fn where_membarrier_is_refused_readers_fence() {
    let out = output(child("child_works"));
    if can_filter() {
        for errno in [libc::EPERM, libc::ENOSYS] {
            let mut command = child("child_works");
            refuse(&mut command, libc::SYS_membarrier, errno);
            let out = output(command);
            assert!(out.contains("fence=full (membarrier refused)"), "{out}");
        }
        assert!(out.contains("fence=none (membarrier by who waits)"), "{out}");
    }
}

#[test]
fn child_stalls() {
    if !is_child() {
        return;
    }
    let (end, thread) = reader("stays-long");
    let before = rcu::stats().stalls;
    let waiter = thread::spawn(rcu::synchronize);
    // Once a period, so again.
    while rcu::stats().stalls < before + 2 {
        thread::yield_now();
    }
    // Who polls is told too, and a callback's period is one like others.
    let cookie = rcu::get_state();
    while rcu::stats().stalls < before + 3 {
        assert!(!rcu::poll_state(cookie));
    }
    drop(end);
    thread.join().unwrap();
    waiter.join().unwrap().unwrap();
    println!("limit={:?}", rcu::stall_timeout().unwrap());
}

/// Runs a child; its standard output and error.
fn both(mut command: Command) -> (String, String) {
    let done = command.output().unwrap();
    let texts = [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(done.status.success(), "{texts:?}");
    texts.into()
}

#[test]
fn readers_that_stay_are_reported() {
    let mut command = child("child_stalls");
    command.env("HAYBARN_RCU_STALL_SECONDS", "0.05");
    let (out, err) = both(command);
    assert!(out.contains("limit=50ms"), "{out}");
    let reports: Vec<_> =
        err.lines().filter(|line| line.starts_with("haybarn: rcu: a grace period is held up")).collect();
    assert!(reports.len() >= 3, "{err}");
    for report in reports {
        let (_, rest) = report.split_once(" for ").unwrap();
        let (seconds, who) = rest.split_once(" s by read sections of thread ").unwrap();
        assert!(seconds.parse::<f64>().unwrap() >= 0.05, "{report}");
        assert!(who.ends_with(" 'stays-long'"), "{report}");
    }
}

#[test]
fn child_malformed_limit() {
    if is_child() {
        println!("limit={:?}", rcu::stall_timeout().map_err(|error| error.to_string()));
        println!("wait={:?}", rcu::synchronize().map_err(|error| error.to_string()));
        println!("barrier={:?}", rcu::barrier().map_err(|error| error.to_string()));
        // Who can say so sets it right.
        assert!(rcu::set_stall_timeout(Duration::ZERO).unwrap_err().to_string().contains("timeout = 0ns is not legal"));
        rcu::set_stall_timeout(Duration::from_secs(3)).unwrap();
        println!("then={:?}", rcu::synchronize());
    }
}

#[test]
fn a_malformed_limit_is_an_error() {
    for text in ["soon", "0", "-1", "nan", "1e9"] {
        let mut command = child("child_malformed_limit");
        command.env("HAYBARN_RCU_STALL_SECONDS", text);
        let out = output(command);
        let error = format!("Err(\"HAYBARN_RCU_STALL_SECONDS = {text} is not legal: 0.001 to 1000000 seconds\")");
        for what in ["limit", "wait", "barrier"] {
            assert!(out.contains(&format!("{what}={error}")), "{out}");
        }
        assert!(out.contains("then=Ok(())"), "{out}");
    }
    let mut command = child("child_malformed_limit");
    command.env("HAYBARN_RCU_STALL_SECONDS", "");
    assert!(output(command).contains("limit=Ok(21s)"));
}

/// 64 threads have records of the library's own memory; the others read all the same while there is no memory for more.
#[test]
fn child_no_memory() {
    if !is_child() {
        return;
    }
    let many: Vec<_> = (0..64).map(|_| reader("has-one")).collect();
    let fault = fault::fail_page_alloc(fault::FaultAttr::default()).unwrap();
    let crowd: Vec<_> = (0..5).map(|_| reader("has-none")).collect();
    assert!(fault.fired() >= 5);
    assert_eq!((rcu::stats().records, rcu::stats().crowded), (64, 5));
    let own = rcu::read_lock();
    let nested = rcu::read_lock();
    drop(own);
    assert!(rcu::is_reading());
    drop(nested);
    assert!(!rcu::is_reading());
    // They hold up a period as others do, and no longer.
    let cookie = rcu::get_state();
    for (end, thread) in many {
        assert!(!rcu::poll_state(cookie));
        drop(end);
        thread.join().unwrap();
    }
    for (end, thread) in crowd {
        assert!(!rcu::poll_state(cookie));
        drop(end);
        thread.join().unwrap();
    }
    rcu::cond_synchronize(cookie).unwrap();
    // Records of ended threads serve the next ones.
    thread::spawn(|| core::mem::forget(rcu::read_lock())).join().unwrap();
    assert_eq!(rcu::stats().crowded, 7);
    rcu::synchronize().unwrap();
    // A thread without a record that ends inside its section has ended it.
    let many: Vec<_> = (0..64).map(|_| reader("has-one")).collect();
    thread::spawn(|| core::mem::forget(rcu::read_lock())).join().unwrap();
    assert_eq!(rcu::stats().crowded, 8);
    for (end, thread) in many {
        drop(end);
        thread.join().unwrap();
    }
    rcu::synchronize().unwrap();
    drop(fault);
    // With memory there are records for all.
    let many: Vec<_> = (0..200).map(|_| reader("has-one")).collect();
    assert_eq!((rcu::stats().records, rcu::stats().crowded), (200, 8));
    let cookie = rcu::get_state();
    assert!(!rcu::poll_state(cookie));
    drop(many);
    rcu::cond_synchronize(cookie).unwrap();
}

#[test]
fn without_memory_for_records_readers_read() {
    output(child("child_no_memory"));
}

/// How often the service thread has gone to sleep and been woken.
fn switches() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let service = tasks
        .filter(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "haybarn-service"))
        .collect::<Vec<_>>();
    assert_eq!(service.len(), 1, "one service thread");
    let status = std::fs::read_to_string(service[0].join("status")).unwrap();
    let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
    lines.map(|line| line.split_whitespace().next_back().unwrap().parse::<u64>().unwrap()).sum()
}

/// The calling thread's, as the system shows it.
fn own_name() -> String {
    std::fs::read_to_string("/proc/thread-self/comm").unwrap().trim().to_owned()
}

#[test]
fn child_service() {
    if !is_child() {
        return;
    }
    assert!(!service::is_running(), "not before somebody needs it");
    rcu::synchronize().unwrap();
    assert!(!service::is_running(), "nobody does");
    let call = || {
        let (tell, hear) = channel();
        rcu::call(Box::new(move || tell.send(own_name()).unwrap()));
        hear
    };
    assert_eq!(call().recv().unwrap(), "haybarn-service");
    assert!(service::is_running());
    // With nothing to do it sleeps without any wake-up.
    let stays = |_| {
        let before = switches();
        thread::sleep(Duration::from_millis(300));
        switches() == before
    };
    assert!((0..20).any(stays), "woken with nothing to do");
    // Stopped, it stays so, and barriers help themselves.
    service::stop();
    service::stop();
    assert!(!service::is_running());
    let hear = call();
    rcu::barrier().unwrap();
    assert_ne!(hear.recv().unwrap(), "haybarn-service");
    let hear = call();
    assert!(!service::is_running());
    // Allowed again, it does at once what was asked for.
    service::allow();
    assert_eq!(hear.recv().unwrap(), "haybarn-service");
    // A callback may stop it: it ends afterwards.
    rcu::call(Box::new(service::stop));
    rcu::barrier().unwrap();
    while service::is_running() {
        thread::yield_now();
    }
    service::allow();
    assert_eq!(call().recv().unwrap(), "haybarn-service");
    // Stopped from several threads at once, while it works.
    for _ in 0..50 {
        (0..10).for_each(|_| rcu::call(Box::new(thread::yield_now)));
        thread::scope(|scope| (0..3).for_each(|_| drop(scope.spawn(service::stop))));
        assert!(!service::is_running());
        service::allow();
    }
    rcu::barrier().unwrap();
}

#[test]
fn the_service_thread_is_there_when_it_is_needed() {
    output(child("child_service"));
}

#[test]
fn child_nests_too_deep() {
    if is_child() {
        (0..65535).for_each(|_| core::mem::forget(rcu::read_lock()));
        assert!(rcu::is_reading());
        let text = std::panic::catch_unwind(|| drop(rcu::read_lock())).unwrap_err();
        assert_eq!(text.downcast_ref::<&str>(), Some(&"65535 RCU read sections inside one another"));
        // SAFETY: each was begun above, and its guard forgotten.
        (0..65535).for_each(|_| unsafe { rcu::read_unlock_raw() });
        assert!(!rcu::is_reading());
        rcu::synchronize().unwrap();
    }
}

#[test]
fn too_many_sections_inside_one_another_are_a_panic_and_harm_nothing() {
    output(child("child_nests_too_deep"));
}
