//! `perf script` text of `perf record -a -e kmem:...`.

#![forbid(unsafe_code)]

use super::Names;
use super::fields::event_line;
use super::format::{Format, Line};
use super::ftrace::loss;
use memchr::memmem;

/// The format's row.
pub(super) struct PerfScript;

/// What `perf script --show-lost-events` prints in place of an event, before ` lost 123` or ` lost samples 123`.
const LOST: &[u8] = b"PERF_RECORD_LOST";

impl Format for PerfScript {
    fn claims(&self, line: &[u8]) -> bool {
        memmem::find(line, b" kmem:").is_some() || memmem::find(line, LOST).is_some()
    }

    fn line(&self, line: &[u8], names: &mut Names) -> Line {
        let text = line.trim_ascii_start();
        // `perf script --header` writes comments, `-g` blank lines and frames.
        if text.is_empty() || text[0] == b'#' || is_frame(line, text) {
            return Line::Skip;
        }
        // Told from a task of that name by what follows: an event's line goes on with `[CPU]`.
        if let Some(at) = memmem::find(text, LOST)
            && !text[at..].contains(&b'[')
        {
            return Line::Lost(last_number(text));
        }
        loss(text).map_or_else(|| event_line(line, names), Line::Lost)
    }
}

/// `\tffffffff811f8a21 kmem_cache_alloc+0x1a1 ([kernel.kallsyms])`: indented, an address first, an object in brackets last.
fn is_frame(line: &[u8], text: &[u8]) -> bool {
    let hex = text.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    line.len() > text.len() && (4..=16).contains(&hex) && text.get(hex) == Some(&b' ') && text.ends_with(b")")
}

fn last_number(text: &[u8]) -> u64 {
    let text = text.trim_ascii_end();
    let start = text.iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |at| at + 1);
    str::from_utf8(&text[start..]).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
#[path = "perf_tests.rs"]
mod tests;
