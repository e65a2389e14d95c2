//! Readers of recorded kernel allocation traces: ftrace text and `perf script` text, gzip or plain.
//!
//! [`Reader`] turns files into one list of [`Event`]s with interned cache names. A trace format is one file here and one row
//! of `FORMATS`. What every format shares (the `[CPU] time: event:` head and the `key=value` fields that the kernel prints)
//! is in `head.rs` and `fields.rs`.

#![forbid(unsafe_code)]

mod event;
mod fields;
mod format;
mod ftrace;
mod head;
mod names;
mod perf;
mod reader;
mod source;

pub use event::{Event, Kind, MAX_BYTES, MAX_CPU, MAX_OBJECT};
pub use format::Reason;
pub use names::{NameId, Names};
pub use reader::{Malformed, ReadError, Reader, Tally, Trace};
pub(crate) use source::open;

use format::Format;

/// Every format that is read, one row each. The first row reads files that no format recognises.
const FORMATS: &[&dyn Format] = &[&ftrace::Ftrace, &perf::PerfScript];
