//! haybarn: a slab allocator with per-CPU sheaves over lock-free slabs.
#![deny(unsafe_op_in_unsafe_fn)]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "haybarn runs on Linux only: it needs restartable sequences, membarrier and /proc; see README, \"Platform\""
);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("haybarn is built for x86-64 and aarch64 only; see README, \"Platform\"");

#[allow(dead_code)] // until slab and cache use all of it
pub(crate) mod os;
#[allow(dead_code, unused_imports)] // until slab and cache use all of it
pub(crate) mod pages;
pub mod slab;
pub mod sync;

pub use os::topology::{possible_cpus, present_cpus};
pub use pages::{FailSwitch, Source};
pub use slab::{
    flags::SlabFlags,
    geometry::{Geometry, GeometryError, GeometryRequest, geometry},
};
