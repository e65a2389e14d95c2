//! Reserving under `RLIMIT_AS`, in a forked child: a limit cannot be taken back.

use super::testing::{CPU, NODE};
use super::{Order, Pages, PagesConfig, Source};
use crate::sync::Form;
use std::io::Read;

const MIB: usize = 1 << 20;

/// What the child found, as its exit code; 0 is well. It may not allocate: other threads' locks were forked too.
fn child() -> i32 {
    let Some(used) = mapped() else { return 2 };
    let limit = libc::rlimit { rlim_cur: (used + 700 * MIB) as u64, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a valid limit, of a process that is about to end.
    if unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) } != 0 {
        return 3;
    }
    let config = PagesConfig { source: Source::Anonymous, reserve: 0, form: Form::detect(), cpus: 2, nodes: 1 };
    let Ok(pages) = Pages::new(&config) else { return 4 };
    // 512 MiB fit, so half of that is taken and the rest left to the program.
    if pages.range().1 != 256 * MIB {
        return 5;
    }
    let Some(run) = pages.alloc_run(Order(3), NODE, CPU) else { return 6 };
    // SAFETY: the run is ours.
    unsafe { pages.stamp(run, 8, 1) };
    if pages.free_run(run, Order(3)).is_ok() { 0 } else { 7 }
}

/// Bytes of address space that this process has mapped.
fn mapped() -> Option<usize> {
    let mut text = [0; 128];
    let len = std::fs::File::open("/proc/self/statm").ok()?.read(&mut text).ok()?;
    let pages: usize = core::str::from_utf8(&text[..len]).ok()?.split(' ').next()?.parse().ok()?;
    Some(pages * 4096)
}

#[test]
fn a_limit_on_address_space_makes_the_range_smaller() {
    // SAFETY: the child calls nothing that could wait for a lock of another thread, and ends without unwinding or exit handlers.
    let pid = unsafe {
        let pid = libc::fork();
        if pid == 0 {
            libc::_exit(child());
        }
        pid
    };
    let mut status = 0;
    // SAFETY: our own child.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "status {status:#x}; see `child`");
}

#[test]
fn a_reserve_that_cannot_be_named_is_an_error() {
    let config =
        PagesConfig { source: Source::Anonymous, reserve: usize::MAX, form: Form::detect(), cpus: 1, nodes: 1 };
    let error = Pages::new(&config).err().expect("beyond 4 TiB").to_string();
    assert!(error.contains("at most 4 TiB"), "{error}");
    let error = Pages::new(&PagesConfig { reserve: 0, nodes: 257, ..config }).err().expect("257 nodes").to_string();
    assert!(error.contains("1 to 256"), "{error}");
}
