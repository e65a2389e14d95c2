//! The last moments of an interpreter, whose other threads do not run any more, and will not do what somebody waits for.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use haybarn::fork_generation;
use haybarn::sync::Published;
use pyo3::prelude::*;

use crate::attach;

/// How long to wait in them: what is inside a callback is not held up by the interpreter's end before it wants the GIL.
const AT_THE_END: Duration = Duration::from_secs(1);

/// The process, by its fork generation plus 1, in which somebody has waited that long. Who is waited for does not come any more: nobody
/// else need find that out for himself, each of a thousand objects that are freed then, say.
static OVER: Published = Published::new(0);

/// How long somebody has been waiting in those moments.
#[derive(Default)]
pub(crate) struct End(Option<Instant>);

impl End {
    /// Whether these are those moments, and it has been waited long enough.
    pub(crate) fn has_come(&mut self, py: Python<'_>) -> bool {
        is_ending(py) && self.is_over()
    }

    /// Called in those moments: whether it has been waited long enough.
    pub(crate) fn is_over(&mut self) -> bool {
        let this = fork_generation() + 1;
        if OVER.read() != this && self.0.get_or_insert_with(Instant::now).elapsed() > AT_THE_END {
            OVER.publish(this);
        }
        OVER.read() == this
    }
}

/// Whether the interpreter is being taken down: then this thread is the last that runs. Asked of the interpreter itself: `sys` may be
/// gone, or say what somebody wants it to say.
pub(crate) fn is_ending(_: Python<'_>) -> bool {
    attach::is_finalizing()
}
