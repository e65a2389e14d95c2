//! How many CPUs there are and which node each is on.
//!
//! Asked of `/sys`. Where `/sys` is not mounted (some containers) the answers come from
//! `sysconf` and `sched_getaffinity`, and every CPU is on node 0.

use super::cpulist::ids;
use std::fs::File;
use std::io::Read;

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

/// Nodes that are told apart: the page map's words, the lists of `free_rcu` and bit masks have room for so many.
pub(crate) const MAX_NODES: u32 = 64;

/// The nodes of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nodes {
    /// How many: the highest with a CPU or memory + 1.
    pub count: u32,
    /// The node whose memory is nearest to each CPU: its own, or where that one has none the nearest that has.
    pub of_cpu: Vec<u8>,
    /// For each node the others, nearest first.
    pub others: Vec<Vec<u8>>,
}

/// Where the system tells of its CPUs and nodes.
const SYSTEM: &str = "/sys/devices/system";

impl Nodes {
    /// The machine's, for CPUs 0 to `cpus - 1`.
    ///
    /// Source: `cpulist` and `distance` below `/sys/devices/system/node/node*`, and `has_memory` there (the kernel's
    /// `numa_mem_id()` is a CPU's nearest node with memory). CPUs that no node lists are on node 0, as are all where there is
    /// no such directory. Nodes from 64 on count as node 0 too.
    pub fn of_machine(cpus: u32) -> Self {
        Self::below(SYSTEM, cpus)
    }

    fn below(root: &str, cpus: u32) -> Self {
        let list = |path: &str| read_list(&format!("{root}/node/{path}"), |list| ids(list).collect::<Vec<u32>>());
        let possible: Vec<u8> = list("possible")
            .unwrap_or_default()
            .iter()
            .filter(|&&node| node < MAX_NODES)
            .map(|&node| node as u8)
            .collect();
        // A kernel that does not say which nodes have memory has it everywhere.
        let memory = list("has_memory").filter(|nodes| !nodes.is_empty());
        let has_memory = |node: u8| memory.as_ref().is_none_or(|nodes| nodes.contains(&u32::from(node)));
        let mut of_cpu = vec![0; cpus as usize];
        let mut count = 1;
        for &node in &possible {
            let mut there = memory.is_some() && has_memory(node);
            for cpu in list(&format!("node{node}/cpulist")).unwrap_or_default() {
                if let Some(slot) = of_cpu.get_mut(cpu as usize) {
                    (*slot, there) = (node, true);
                }
            }
            if there {
                count = count.max(u32::from(node) + 1);
            }
        }
        // The file has a column for each node that is online, in the order of their numbers.
        let online = list("online").unwrap_or_else(|| possible.iter().map(|&node| u32::from(node)).collect());
        let distances: Vec<Vec<u32>> = (0..count)
            .map(|node| {
                let row = read_list(&format!("{root}/node/node{node}/distance"), |text| {
                    text.split_whitespace().filter_map(|number| number.parse().ok()).collect::<Vec<u32>>()
                });
                let row = row.unwrap_or_default();
                let of = |other: u32| online.iter().position(|&id| id == other).and_then(|at| row.get(at).copied());
                (0..count).map(|other| of(other).unwrap_or(u32::MAX)).collect()
            })
            .collect();
        let nearest = |node: u8| by_distance(node, &distances[usize::from(node)]);
        for node in &mut of_cpu {
            if !has_memory(*node) {
                *node = nearest(*node).into_iter().find(|&other| has_memory(other)).unwrap_or(*node);
            }
        }
        Self { count, of_cpu, others: (0..count as u8).map(nearest).collect() }
    }

    /// `count` nodes that the program makes up, all as far from each other; CPU `c` is on node `node_of(c)`.
    pub fn fake(count: u32, cpus: u32, node_of: impl Fn(u32) -> u32) -> Self {
        let of_cpu = (0..cpus).map(|cpu| (node_of(cpu) % count) as u8).collect();
        let even = vec![20; count as usize];
        Self { count, of_cpu, others: (0..count as u8).map(|node| by_distance(node, &even)).collect() }
    }
}

/// The other nodes, nearest first; of equally near ones that which follows in the ring, so that they do not all go to node 0.
fn by_distance(node: u8, distances: &[u32]) -> Vec<u8> {
    let count = distances.len();
    let mut others: Vec<u8> = (1..count).map(|step| ((usize::from(node) + step) % count) as u8).collect();
    others.sort_by_key(|&other| distances[usize::from(other)]);
    others
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
