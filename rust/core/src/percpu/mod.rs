//! CPU-local slots: backends `rseq`, `locked` and `virtual` behind one trait, and the inlined sequences of the fast path.

mod backend;
mod flagged;
mod slot;

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
pub(crate) use backend::{DrainIntent, PerCpu, choose};
pub(crate) use flagged::Flagged;
pub(crate) use slot::{Cpu, NEGATIVE_SLOTS, Pair, Slot, Slots, stop};

/// Most CPUs that `rseq` serves: a static cache that is not set up yet points at a table of this many slots that miss.
pub(crate) const MAX_CPUS: usize = 1024;

/// Why this build has no sequences, if it has none.
fn unsupported() -> Option<&'static str> {
    if cfg!(target_env = "musl") {
        return Some("musl refuses the static TLS that the rseq area needs in a loaded library");
    }
    #[cfg(target_arch = "aarch64")]
    if !std::arch::is_aarch64_feature_detected!("lse2") {
        return Some("this CPU has no single-copy atomic 16-byte store (LSE2)");
    }
    None
}

/// The backend of an arena's caches; `named` is the arena's `virtual` one, `counting` whether fast hits are counted.
pub(crate) fn backend(kind: BackendKind, named: &'static Flagged, counting: bool) -> &'static dyn PerCpu {
    match kind {
        #[cfg(not(target_env = "musl"))]
        BackendKind::Rseq if counting => &rseq::Counting {},
        #[cfg(not(target_env = "musl"))]
        BackendKind::Rseq => &rseq::Plain {},
        #[cfg(target_env = "musl")]
        BackendKind::Rseq => unreachable!("`choose` refuses rseq in a build without sequences"),
        BackendKind::Locked => &Flagged::System,
        BackendKind::Virtual => named,
    }
}
