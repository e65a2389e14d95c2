//! What an arena's pages are made of, and why making them may fail.

#![forbid(unsafe_code)]

use super::source::Source;
use crate::sync::Form;
use std::io;

/// Bytes of user pages reserved where nothing else is asked for.
pub(crate) const DEFAULT_RESERVE: usize = 256 << 30;
/// Smallest reservation that a limit may force; less is an error.
pub(crate) const RESERVE_FLOOR: usize = 64 << 20;
/// Largest reservation, 4 TiB: a summary, a map and a table for it stay a small part of a 47-bit address space.
pub(crate) const RESERVE_MAX: usize = 4 << 40;

/// Parameters of [`super::Pages`].
#[derive(Clone, Debug)]
pub(crate) struct PagesConfig {
    /// Where pages come from.
    pub source: Source,
    /// Bytes to reserve for user pages; 0 is 256 GiB. Halved where a limit refuses it, down to 64 MiB.
    pub reserve: usize,
    /// Form of the doublewords.
    pub form: Form,
    /// CPUs that have hints.
    pub cpus: u32,
    /// Nodes that have chunks of their own, at most 256.
    pub nodes: u32,
}

/// Why the pages could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PagesError {
    /// The system refused even the smallest size.
    #[error("{what}: {size} bytes of address space were refused ({why}); raise RLIMIT_AS (ulimit -v) or ask for less")]
    Reserve {
        /// What the range is for.
        what: &'static str,
        /// Bytes of the wish.
        size: usize,
        /// The system's answer to the smallest size tried.
        why: io::Error,
    },
    /// A parameter is out of range.
    #[error("{what} is {value}; it must be {legal}")]
    BadArgument {
        /// Which one.
        what: &'static str,
        /// What was given.
        value: usize,
        /// What is accepted.
        legal: &'static str,
    },
}

/// Why pages could not be given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum FreeError {
    /// The page is none of a chunk that is cut into runs, or not aligned to the order, or the order is above 9.
    #[error("no run of this order starts there")]
    NoRun,
    /// The page is not the first of a span.
    #[error("no span starts there")]
    NoSpan,
    /// It was free already.
    #[error("the pages were given back twice")]
    DoubleFree,
}
