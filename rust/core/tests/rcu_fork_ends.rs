//! A child that was forked by another thread than the parent's first one has no `main` to return from: it ends with its last thread,
//! which the service thread must not be for ever.

mod support;

use haybarn::{CacheArgs, RawCache, rcu, service};
use std::fs::File;
use std::io::{PipeReader, Read, Write, pipe};
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::mpsc::channel;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use support::{create, every_arena};

/// Where a child says what it does; no lock is involved.
#[derive(Clone, Copy)]
struct Says(i32);

impl Says {
    fn say(self, word: &str) {
        // SAFETY: the pipe's writing end, which nobody closes; it is not closed here either.
        let mut pipe = core::mem::ManuallyDrop::new(unsafe { File::from_raw_fd(self.0) });
        pipe.write_all(word.as_bytes()).expect("the parent reads");
    }
}

/// Forks; the child goes on and returns (true) from wherever it is.
fn forks() -> (i32, bool) {
    // SAFETY: children keep to what a thread may do after a fork: no locks of others.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    (pid, pid == 0)
}

/// What the child said until it and its children had ended, and how it ended. A hang is a failure: it is killed.
fn outcome(pid: i32, mut from: PipeReader) -> (String, i32) {
    let (tell, hear) = channel::<()>();
    let watch = thread::spawn(move || {
        if hear.recv_timeout(Duration::from_secs(20)).is_err() {
            // The service thread takes no signal but this one.
            // SAFETY: the child's group, as it made itself.
            unsafe { libc::kill(-pid, libc::SIGKILL) };
        }
    });
    let mut said = String::new();
    from.read_to_string(&mut said).expect("letters");
    let mut status = 0;
    // SAFETY: `status` is ours.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    tell.send(()).ok();
    watch.join().unwrap();
    (said, status)
}

/// In the child: it and its children can be killed together.
fn lead() {
    // SAFETY: no memory of ours.
    unsafe { libc::setpgid(0, 0) };
}

/// What one test has queued, the children that another forks have too: they take turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn give_one(cache: RawCache) {
    let object = cache.alloc(support::PLAIN).expect("memory");
    // SAFETY: ours, and nobody else knows it.
    unsafe { cache.free_rcu(object) }.expect("no read section");
}

#[test]
fn a_callback_that_forks_and_returns() {
    let _alone = alone();
    let cache = create(every_arena()[0], "fork-returns", 64, &CacheArgs::default());
    let (from, to) = pipe().unwrap();
    let says = Says(to.as_raw_fd());
    let (tell, hear) = channel();
    rcu::call(Box::new(move || {
        let (pid, is_child) = forks();
        if !is_child {
            tell.send(pid).unwrap();
            return;
        }
        lead();
        says.say("a");
        // The child has a service as the parent has: this very thread.
        rcu::call(Box::new(move || says.say("b")));
        give_one(cache);
        // And it lives as long as any thread of its own.
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(300));
            says.say("c");
        });
    }));
    let pid = hear.recv().unwrap();
    drop(to);
    assert_eq!(outcome(pid, from), ("abc".to_owned(), 0));
    rcu::barrier().unwrap();
    assert!(service::is_running(), "the parent's service goes on");
}

#[test]
fn a_thread_that_forks_and_returns() {
    let _alone = alone();
    for arena in every_arena() {
        let cache = create(arena, "fork-thread", 64, &CacheArgs::default());
        let (from, to) = pipe().unwrap();
        let says = Says(to.as_raw_fd());
        let pid = thread::spawn(move || {
            let (pid, is_child) = forks();
            if is_child {
                lead();
                give_one(cache);
                rcu::call(Box::new(move || says.say("b")));
                // A second generation, by what is its first thread: it has no `main` either.
                let (grandchild, is_child) = forks();
                if is_child {
                    rcu::call(Box::new(move || says.say("d")));
                } else {
                    let mut status = 0;
                    // SAFETY: `status` is ours.
                    unsafe { libc::waitpid(grandchild, &raw mut status, 0) };
                    says.say(if status == 0 { "e" } else { "f" });
                }
            }
            pid
        });
        let pid = pid.join().unwrap();
        drop(to);
        let (said, status) = outcome(pid, from);
        let mut letters: Vec<_> = said.chars().collect();
        letters.sort_unstable();
        // The callback that was queued before the second fork may run in both.
        letters.dedup();
        assert_eq!((letters.iter().collect::<String>(), status), ("bde".to_owned(), 0), "{said}");
        rcu::barrier().unwrap();
    }
}
