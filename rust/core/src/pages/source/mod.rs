//! Where pages come from. One file and one row of [`Source`] each.

#![forbid(unsafe_code)]

mod anonymous;
mod failing;
mod huge;
mod memfd;

pub use failing::FailSwitch;

use crate::os::mem::Mapping;
use std::io;

/// What a source must provide. Methods may be called by any thread at any time and do not wait.
pub(super) trait PageSource {
    /// The name in options and reports.
    fn name(&self) -> &'static str;

    /// Reserves the range that user pages are taken from: `len` bytes, a multiple of 2 MiB, aligned to 2 MiB, all zeros.
    fn reserve(&self, len: usize) -> io::Result<Mapping>;

    /// Asked before `pages` pages are handed out, to users or to metadata. No: the caller is out of memory.
    fn grant(&self, pages: usize) -> bool {
        let _ = pages;
        true
    }
}

/// Where an arena's pages come from.
#[derive(Clone, Debug, Default)]
pub enum Source {
    /// Private anonymous memory. After a fork parent and child have their own copies.
    #[default]
    Anonymous,
    /// The same with transparent huge pages asked for (`MADV_HUGEPAGE`): fewer page faults and TLB misses, more memory per
    /// touched chunk. An error where the kernel has none.
    HugePages,
    /// A shared `memfd`: a forked child uses **the same** memory as its parent, so only one of the two may go on using the
    /// arena. For programs that map the arena elsewhere.
    Memfd,
    /// Anonymous memory that runs out when its switch says so, for tests of what happens then.
    Failing(FailSwitch),
}

impl Source {
    pub(super) fn pages(&self) -> &dyn PageSource {
        match self {
            Self::Anonymous => &anonymous::Anonymous,
            Self::HugePages => &huge::HugePages,
            Self::Memfd => &memfd::Memfd,
            Self::Failing(switch) => switch,
        }
    }

    /// The name in options and reports: `anonymous`, `hugepages`, `memfd` or `failing`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.pages().name()
    }
}
