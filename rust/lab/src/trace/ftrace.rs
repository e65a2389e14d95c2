//! ftrace text, as `/sys/kernel/tracing/trace`, `trace_pipe` and `trace-cmd report` print it.

#![forbid(unsafe_code)]

use super::Names;
use super::fields::event_line;
use super::format::{Format, Line};
use memchr::memmem;

/// The format's row.
pub(super) struct Ftrace;

impl Format for Ftrace {
    fn claims(&self, line: &[u8]) -> bool {
        line.starts_with(b"# tracer:") || loss(line).is_some()
    }

    fn line(&self, line: &[u8], names: &mut Names) -> Line {
        let text = line.trim_ascii_start();
        // Headers, `##### CPU 1 buffer started ####`, and frames of `options/stacktrace`: ` => kfree`.
        if text.is_empty() || text[0] == b'#' || text.starts_with(b"=>") {
            return Line::Skip;
        }
        loss(text).map_or_else(|| event_line(line, names), Line::Lost)
    }
}

/// `CPU:0 [LOST 123 EVENTS]` and `CPU:0 [LOST EVENTS]` (the kernel, `print_trace_line`), `CPU:0 [123 EVENTS DROPPED]` and
/// `CPU:0 [EVENTS DROPPED]` (trace-cmd): how many; 0 where the line does not say.
pub(super) fn loss(line: &[u8]) -> Option<u64> {
    let text = line.trim_ascii().strip_prefix(b"CPU:")?;
    let inner = &text[memmem::find(text, b"[")? + 1..];
    let inner = str::from_utf8(inner.strip_suffix(b"]")?).ok()?;
    let words: Vec<&str> = inner.split_ascii_whitespace().collect();
    match words[..] {
        ["LOST", "EVENTS"] | ["EVENTS", "DROPPED"] => Some(0),
        ["LOST", count, "EVENTS"] | [count, "EVENTS", "DROPPED"] => count.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
#[path = "ftrace_tests.rs"]
mod tests;
