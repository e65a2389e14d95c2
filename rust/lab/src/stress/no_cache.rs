//! Why an allocator under test makes no cache.
#![forbid(unsafe_code)]

/// Why there is no cache.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCache {
    /// Memory is out.
    #[error("{0}")]
    OutOfMemory(String),
    /// The allocator would not make it.
    #[error("{0}")]
    Refused(String),
}
