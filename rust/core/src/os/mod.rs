//! The only files with system calls, one subject each.

mod cpulist;
pub(crate) mod mem;
pub(crate) mod topology;
