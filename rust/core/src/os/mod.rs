//! The only files with system calls, one subject each.

mod cpulist;
#[cfg(not(loom))]
pub(crate) mod fork;
#[cfg(not(loom))]
pub(crate) mod futex;
pub(crate) mod mem;
pub(crate) mod membarrier;
#[cfg(not(target_env = "musl"))]
pub(crate) mod rseq;
pub(crate) mod thread;
pub(crate) mod topology;

pub(crate) use thread::{current_cpu, page_size, yield_now};
pub use topology::{possible_cpus, present_cpus};
