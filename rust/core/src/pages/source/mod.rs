//! Where pages come from. One file and one row of [`Source`] each.

#![forbid(unsafe_code)]

mod anonymous;
mod contract;
mod failing;
mod huge;
mod memfd;

pub(super) use contract::PageSource;
pub use failing::FailSwitch;

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
