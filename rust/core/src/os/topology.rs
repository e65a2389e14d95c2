//! How many CPUs there are and which node each is on.
//!
//! Asked of `/sys`, without allocating. Where `/sys` is not mounted (some containers) the answers come from
//! `sysconf` and `sched_getaffinity`, and every CPU is on node 0.

use super::cpulist::ids;
use std::fs::File;
use std::io::{Read, Write};

/// Bytes of a list read from `/sys`; the longest of 1024 CPUs, every other one missing, is below 4000.
const LIST: usize = 8192;

/// How many CPU numbers can ever occur on this machine: the highest possible one + 1, at least 1.
///
/// Source: `/sys/devices/system/cpu/possible` (the kernel's `cpu_possible_mask`); else the larger of
/// `sysconf(_SC_NPROCESSORS_CONF)` and the highest CPU this thread may run on. Any thread may call it; it reads a file.
#[must_use]
pub fn possible_cpus() -> u32 {
    read_list("/sys/devices/system/cpu/possible", |list| ids(list).max())
        .flatten()
        .map_or_else(|| configured().max(allowed().map_or(0, |(highest, _)| highest + 1)), |highest| highest + 1)
        .max(1)
}

/// Whether [`possible_cpus`] is the system's own word. If not, a CPU with a higher number may turn up.
pub(crate) fn possible_cpus_are_known() -> bool {
    read_list("/sys/devices/system/cpu/possible", |list| ids(list).max()).flatten().is_some()
}

/// How many CPUs are plugged in, at least 1: what the kernel computes slab orders from.
///
/// Source: `/sys/devices/system/cpu/present` (`num_present_cpus()`, as in `calculate_order()`, mm/slub.c); else the larger
/// of `sysconf(_SC_NPROCESSORS_CONF)` and the number of CPUs this thread may run on. Any thread may call it; it reads a
/// file.
#[must_use]
pub fn present_cpus() -> u32 {
    read_list("/sys/devices/system/cpu/present", |list| ids(list).count() as u32)
        .filter(|&count| count > 0)
        .unwrap_or_else(|| configured().max(allowed().map_or(0, |(_, count)| count)))
        .max(1)
}

/// Writes the node of CPU `i` to `nodes[i]` and returns how many nodes there are: the highest + 1, at least 1.
///
/// Source: `/sys/devices/system/node/node*/cpulist`. CPUs that no node lists are on node 0, as are all where there is no
/// such directory. Nodes from 256 on count as node 0 too: page words have 8 bits for a node.
pub(crate) fn nodes_of_cpus(nodes: &mut [u8]) -> u32 {
    nodes.fill(0);
    let mut highest = 0;
    read_list("/sys/devices/system/node/possible", |list| {
        for node in ids(list) {
            let Ok(id) = u8::try_from(node) else { break };
            let mut path = [0; 64];
            let Some(path) = node_path(&mut path, id) else { break };
            read_list(path, |cpus| {
                for cpu in ids(cpus) {
                    if let Some(slot) = nodes.get_mut(cpu as usize) {
                        *slot = id;
                        highest = highest.max(id);
                    }
                }
            });
        }
    });
    u32::from(highest) + 1
}

fn node_path(buffer: &mut [u8; 64], node: u8) -> Option<&str> {
    let mut rest = &mut buffer[..];
    write!(rest, "/sys/devices/system/node/node{node}/cpulist").ok()?;
    let used = 64 - rest.len();
    core::str::from_utf8(&buffer[..used]).ok()
}

fn read_list<R>(path: &str, then: impl FnOnce(&str) -> R) -> Option<R> {
    let mut buffer = [0; LIST];
    let mut file = File::open(path).ok()?;
    let mut used = 0;
    loop {
        match file.read(&mut buffer[used..]).ok()? {
            0 => break,
            more => used += more,
        }
    }
    core::str::from_utf8(&buffer[..used]).ok().map(then)
}

/// CPUs that the C library knows of, 0 if it does not say.
fn configured() -> u32 {
    // SAFETY: `sysconf` reads a number; it has no preconditions.
    u32::try_from(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) }).unwrap_or(0)
}

/// The highest CPU that this thread may run on, and how many there are.
fn allowed() -> Option<(u32, u32)> {
    // SAFETY: all zeros is a valid, empty `cpu_set_t`, and the call writes at most the given size.
    let set = unsafe {
        let mut set: libc::cpu_set_t = core::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) != 0 {
            return None;
        }
        set
    };
    // SAFETY: the index is below the set's size.
    let in_set = |cpu: &u32| unsafe { libc::CPU_ISSET(*cpu as usize, &set) };
    let cpus = || (0..libc::CPU_SETSIZE as u32).filter(in_set);
    Some((cpus().max()?, cpus().count() as u32))
}

#[cfg(test)]
#[path = "topology_tests.rs"]
mod tests;
