//! The head that ftrace and `perf script` share: `TASK PID [CPU] flags TIME: EVENT: fields`.
//!
//! Task names may hold anything (spaces, brackets, digits, colons), so the head is found by its shape, not by counting words;
//! both writers pad the name to 16 columns, so that the search can begin behind it.

#![forbid(unsafe_code)]

use super::format::Reason;
use memchr::memchr;

/// Columns that both writers give to the task's name (`%16s`).
const TASK_COLUMNS: usize = 16;

/// A line cut at its head.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head<'a> {
    pub cpu: u16,
    /// The event's name, with the subsystem before it where the writer prints one (`kmem:kfree`).
    pub event: &'a [u8],
    /// What follows the event's name.
    pub fields: &'a [u8],
}

/// Finds the head. `Ok(None)`: a line with a good head whose event is not of the form `name:` (function tracer, stack trace).
pub(super) fn head(line: &[u8]) -> Result<Option<Head<'_>>, Reason> {
    // A name of 16 columns is followed by `-PID` (ftrace) or by the padded PID (perf); a line that was written by hand need
    // not be padded, so the whole line is searched where that fails.
    let padded = matches!(line.get(TASK_COLUMNS), Some(b'-' | b' '));
    if padded {
        match search(line, TASK_COLUMNS) {
            Err(Reason::NoHead) => {}
            found => return found,
        }
    }
    search(line, 0)
}

fn search(line: &[u8], from: usize) -> Result<Option<Head<'_>>, Reason> {
    let mut at = from;
    while let Some(step) = memchr(b'[', &line[at..]) {
        at += step + 1;
        if let Some((cpu, rest)) = cpu_and_time(&line[at..]) {
            let cpu = u16::try_from(cpu).ok().filter(|&cpu| u64::from(cpu) <= super::MAX_CPU).ok_or(Reason::Cpu)?;
            return event(cpu, rest);
        }
    }
    Err(Reason::NoHead)
}

/// `0001] d..1. 876.373867: ` behind a bracket: the CPU, and what follows the time.
fn cpu_and_time(text: &[u8]) -> Option<(u64, &[u8])> {
    let (cpu, rest) = digits(text)?;
    let rest = rest.strip_prefix(b"]")?;
    let rest = spaces(rest)?;
    if let Some(rest) = time(rest) {
        return Some((cpu, rest));
    }
    // ftrace prints a column of flags between CPU and time.
    let end = memchr(b' ', rest)?;
    time(spaces(&rest[end..])?).map(|rest| (cpu, rest))
}

/// `876.373867:` or, with a counting clock, `876373867:`.
fn time(text: &[u8]) -> Option<&[u8]> {
    let (_, rest) = digits(text)?;
    let rest = match rest.strip_prefix(b".") {
        Some(fraction) => digits(fraction)?.1,
        None => rest,
    };
    rest.strip_prefix(b":")
}

fn event(cpu: u16, rest: &[u8]) -> Result<Option<Head<'_>>, Reason> {
    let mut rest = spaces(rest).unwrap_or(rest);
    // `perf script -F +period` prints a number before the event.
    if let Some((_, after)) = digits(rest)
        && let Some(after) = spaces(after)
    {
        rest = after;
    }
    let end = memchr(b' ', rest).unwrap_or(rest.len());
    let (name, fields) = rest.split_at(end);
    match name.strip_suffix(b":") {
        Some(event) if !event.is_empty() => Ok(Some(Head { cpu, event, fields })),
        _ if fields.iter().all(u8::is_ascii_whitespace) => Err(Reason::CutEvent),
        _ => Ok(None),
    }
}

/// Leading digits as a number (saturating), and the rest; `None` if there are none.
fn digits(text: &[u8]) -> Option<(u64, &[u8])> {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = text[..count].iter().fold(0u64, |n, &d| n.saturating_mul(10).saturating_add(u64::from(d - b'0')));
    (count > 0).then(|| (number, &text[count..]))
}

/// What follows at least one space.
fn spaces(text: &[u8]) -> Option<&[u8]> {
    let count = text.iter().take_while(|&&byte| byte == b' ').count();
    (count > 0).then(|| &text[count..])
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
