//! The machine: CPUs to pin to, resident memory, and the facts that go with every result.

use std::fs;
use std::sync::OnceLock;

/// CPUs that this process may use, in ascending order, as they were before anything was pinned.
pub fn allowed_cpus() -> &'static [usize] {
    static ALLOWED: OnceLock<Vec<usize>> = OnceLock::new();
    ALLOWED.get_or_init(|| {
        // SAFETY: an all-zero cpu_set_t is an empty set.
        let mut set: libc::cpu_set_t = unsafe { core::mem::zeroed() };
        // SAFETY: `set` is valid for its own size.
        let failed = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
        if failed != 0 {
            return vec![0];
        }
        let most = 8 * size_of::<libc::cpu_set_t>();
        // SAFETY: every index is inside the set.
        (0..most).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect()
    })
}

/// Pins the calling thread to the `n`-th allowed CPU (modulo their number). Returns the CPU, or none where the system refuses.
pub fn pin(n: usize) -> Option<usize> {
    let allowed = allowed_cpus();
    let cpu = allowed[n % allowed.len()];
    set_affinity(&[cpu]).then_some(cpu)
}

/// Lets the calling thread run on every allowed CPU again.
pub fn unpin() {
    set_affinity(allowed_cpus());
}

fn set_affinity(cpus: &[usize]) -> bool {
    // SAFETY: an all-zero cpu_set_t is an empty set.
    let mut set: libc::cpu_set_t = unsafe { core::mem::zeroed() };
    for &cpu in cpus {
        // SAFETY: the numbers come from a set of the same size.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: `set` is valid for its own size; 0 is the calling thread.
    unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) == 0 }
}

/// Resident bytes of this process, counted page by page by the kernel (the figures of `/proc/self/statm` lag behind).
///
/// # Errors
/// A text where `/proc/self/smaps_rollup` is not readable.
pub fn resident_bytes() -> Result<u64, String> {
    let text = fs::read_to_string("/proc/self/smaps_rollup").map_err(|e| format!("/proc/self/smaps_rollup: {e}"))?;
    let kib = text.lines().find_map(|line| line.strip_prefix("Rss:")).and_then(|rest| rest.split_whitespace().next());
    let kib: u64 = kib.and_then(|n| n.parse().ok()).ok_or("/proc/self/smaps_rollup: no Rss line")?;
    Ok(kib * 1024)
}

/// Facts that a result is worth nothing without, as (name, value).
#[must_use]
pub fn facts() -> Vec<(&'static str, String)> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map_or(String::from("unknown"), |(_, value)| value.trim().to_owned())
    };
    let first_line = |path: &str| fs::read_to_string(path).map_or(String::from("unknown"), |s| s.trim().to_owned());
    vec![
        ("arch", std::env::consts::ARCH.to_owned()),
        ("cpu", format!("{} (family {}, model {})", field("model name"), field("cpu family"), field("model\t"))),
        ("cpus", allowed_cpus().len().to_string()),
        ("kernel", first_line("/proc/sys/kernel/osrelease")),
        ("thp", first_line("/sys/kernel/mm/transparent_hugepage/enabled")),
        ("load", first_line("/proc/loadavg")),
        ("haybarn", haybarn()),
    ]
}

/// What the process's arena runs on, or why there is none.
fn haybarn() -> String {
    match haybarn::Arena::global() {
        Ok(arena) => {
            let info = arena.info();
            format!("{}, {:?} form, pages from {}", info.backend, info.form, info.source)
        }
        Err(why) => why.to_string(),
    }
}
