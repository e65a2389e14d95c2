//! This test binary, run again with one of its `child_*` tests and a `HAYBARN_CHILD` that lets it do something.

use std::os::unix::process::CommandExt;
use std::process::Command;

const CHILD: &str = "HAYBARN_CHILD";

/// This binary, running one child test. What it finds comes back as its output.
pub fn child(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    command.env_remove("HAYBARN_BACKEND").env_remove("GLIBC_TUNABLES");
    command
}

/// Runs it; its standard output, or a panic with both.
#[track_caller]
pub fn output(mut command: Command) -> String {
    let done = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{command:?}: {}\n{out}\n{err}", done.status);
    assert!(out.contains("1 passed"), "{out}");
    out.into_owned()
}

pub fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// One instruction of a seccomp filter.
fn step(code: u32, yes: u8, no: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: yes, jf: no, k }
}

/// From now on `call` fails with `errno` in this thread and those that it starts. System calls and no more.
pub fn refuse_here(call: libc::c_long, errno: i32) -> std::io::Result<()> {
    let mut program = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, call as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the filter is valid for the time of the call; both calls are system calls and no more.
    let refused = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
            || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) != 0
    };
    if refused { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// From the start of the new program on, `call` fails with `errno`, as under the filters of some containers.
pub fn refuse(command: &mut Command, call: libc::c_long, errno: i32) {
    // SAFETY: the closure makes system calls only, as must be between fork and exec.
    unsafe { command.pre_exec(move || refuse_here(call, errno)) };
}

/// True if filters can be installed here at all (a sandbox may forbid even that).
pub fn can_filter() -> bool {
    let mut command = Command::new("true");
    refuse(&mut command, libc::SYS_swapoff, libc::EPERM);
    let can = command.status().is_ok_and(|status| status.success());
    if !can {
        eprintln!("not run: seccomp filters cannot be installed here");
    }
    can
}
