//! What this build and this CPU can do at all.
#![forbid(unsafe_code)]

/// Most CPUs that `rseq` serves: a static cache that is not set up yet points at a table of this many slots that miss.
pub(crate) const MAX_CPUS: usize = 1024;

/// Why this build has no sequences, if it has none.
pub(super) fn unsupported() -> Option<&'static str> {
    if cfg!(target_env = "musl") {
        return Some("musl refuses the static TLS that the rseq area needs in a loaded library");
    }
    #[cfg(target_arch = "aarch64")]
    if !std::arch::is_aarch64_feature_detected!("lse2") {
        return Some("this CPU has no single-copy atomic 16-byte store (LSE2)");
    }
    None
}
