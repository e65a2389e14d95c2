//! CPU-local slots: backends `rseq`, `locked` and `virtual` behind one trait, and the inlined sequences of the fast path.

mod backend;
mod dispatch;
mod flagged;
mod slot;
mod support;

#[cfg(all(test, not(any(loom, shuttle)), not(target_env = "musl")))]
mod recover_tests;
#[cfg(not(target_env = "musl"))]
mod rseq;
#[cfg(all(target_arch = "x86_64", not(target_env = "musl")))]
#[path = "seq_x86_64.rs"]
pub(crate) mod seq;
#[cfg(all(target_arch = "aarch64", not(target_env = "musl")))]
#[path = "seq_aarch64.rs"]
pub(crate) mod seq;
#[cfg(target_env = "musl")]
#[path = "seq_absent.rs"]
pub(crate) mod seq;

pub(crate) use backend::virtual_cpu;
pub use backend::{BackendKind, set_virtual_cpu};
pub(crate) use backend::{DrainIntent, choose};
pub(crate) use dispatch::Backend;
pub(crate) use flagged::Flagged;
pub(crate) use slot::{Cpu, NEGATIVE_SLOTS, Pair, Slot, Slots, no_sheaf, stop};
pub(crate) use support::MAX_CPUS;
