//! What a trace format does: say whether a line looks like its own, and classify one line.

#![forbid(unsafe_code)]

use super::{Event, Names};
use std::fmt;

/// What a line turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Header, comment, blank line or line of a stack: nothing happened here.
    Skip,
    /// One of the four events.
    Event(Event),
    /// An event that is not replayed.
    Ignored,
    /// The recorder says that it lost this many events (0: it does not say how many).
    Lost(u64),
    /// None of these.
    Malformed(Reason),
}

/// A trace format. Lines come without their line end.
pub(super) trait Format: Sync {
    /// True if the line can only be of this format, so that a file's first such line decides its format.
    fn claims(&self, line: &[u8]) -> bool;
    /// Classifies one line; new cache names go into `names`.
    fn line(&self, line: &[u8], names: &mut Names) -> Line;
}

/// Why a line is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is no `[CPU] time: event:` in the line.
    NoHead,
    /// The line ends within the name of its event.
    CutEvent,
    /// The CPU number is above [`super::MAX_CPU`].
    Cpu,
    /// A field is missing: the line was cut, or the kernel (before 6.1) does not record it.
    Missing(&'static str),
    /// A field's value is not what it should be.
    Bad(&'static str),
    /// `bytes_req` is 0 or above `bytes_alloc`, or a size is above [`super::MAX_BYTES`].
    Sizes,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NoHead => f.write_str("no \"[CPU] time: event:\" in this line"),
            Reason::CutEvent => f.write_str("the line ends within the event's name"),
            Reason::Cpu => write!(f, "CPU number above {}", super::MAX_CPU),
            Reason::Missing(key) => write!(f, "no {key}= in this line (cut, or recorded by a kernel before 6.1)"),
            Reason::Bad(key) => write!(f, "bad value of {key}="),
            Reason::Sizes => f.write_str("sizes that cannot be: bytes_req is 0 or above bytes_alloc, an object above 4 MiB, or anything above 1 GiB"),
        }
    }
}
