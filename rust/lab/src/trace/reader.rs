//! Files to events: choice of the format, counts, malformed lines.

#![forbid(unsafe_code)]

use super::format::{Format, Line, Reason};
use super::source;
use super::{Event, FORMATS, Names};
use serde::Serialize;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Lines that are looked at, at most, to find a file's format; they are then read again by it.
const SNIFFED: usize = 64;

/// Malformed lines that are kept with file and number; more are counted only.
const REPORTED: usize = 1000;

/// Counts of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Lines of the four events, the malformed ones not counted.
    pub events: u64,
    /// Lines of other events.
    pub ignored: u64,
    /// Lines that say that events were lost.
    pub lost_events: u64,
    /// Events that those lines name.
    pub lost_count: u64,
    /// Lines that could not be read.
    pub malformed: u64,
}

/// A line that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: Reason,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.reason)
    }
}

/// Why reading stopped.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file cannot be opened, read or unpacked, or is not a text.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system or the unpacker said.
        source: io::Error,
    },
    /// A malformed line, where the reader is strict.
    #[error("{0}")]
    Malformed(Malformed),
}

/// What was read.
#[derive(Debug, Default)]
pub struct Trace {
    /// The events of all files, file after file, each in its own order.
    pub events: Vec<Event>,
    /// Where each file's events begin in `events`. Pointers of one file never mean those of another.
    pub starts: Vec<usize>,
    /// Names of caches.
    pub names: Names,
    /// Counts over all files.
    pub tally: Tally,
    /// The malformed lines, the first 1000 of them.
    pub malformed: Vec<Malformed>,
}

/// Reads files into a [`Trace`].
#[derive(Debug, Default)]
pub struct Reader {
    strict: bool,
    trace: Trace,
}

impl Reader {
    /// A reader; a `strict` one stops at the first malformed line.
    #[must_use]
    pub fn new(strict: bool) -> Self {
        Reader { strict, trace: Trace::default() }
    }

    /// Reads all of `path`.
    ///
    /// # Errors
    /// [`ReadError`]. What was read before stays in the reader.
    pub fn file(&mut self, path: &Path) -> Result<(), ReadError> {
        let failed = |source| ReadError::Io { file: path.to_path_buf(), source };
        let source = source::open(path).map_err(failed)?;
        self.trace.starts.push(self.trace.events.len());
        let mut format = Chosen::default();
        let mut line_number = 0;
        let mut stopped = None;
        source::lines(source, |line| {
            line_number += 1;
            stopped = self.line(path, line_number, format.of(line), line);
            stopped.is_none()
        })
        .map_err(failed)?;
        stopped.map_or(Ok(()), Err)
    }

    /// What was read.
    #[must_use]
    pub fn finish(self) -> Trace {
        self.trace
    }

    fn line(&mut self, path: &Path, number: u64, format: &dyn Format, line: &[u8]) -> Option<ReadError> {
        let tally = &mut self.trace.tally;
        match format.line(line, &mut self.trace.names) {
            Line::Skip => {}
            Line::Event(event) => {
                tally.events += 1;
                self.trace.events.push(event);
            }
            Line::Ignored => tally.ignored += 1,
            Line::Lost(count) => {
                tally.lost_events += 1;
                tally.lost_count = tally.lost_count.saturating_add(count);
            }
            Line::Malformed(reason) => {
                tally.malformed += 1;
                let malformed = Malformed { file: path.to_path_buf(), line: number, reason };
                if self.strict {
                    return Some(ReadError::Malformed(malformed));
                }
                if self.trace.malformed.len() < REPORTED {
                    self.trace.malformed.push(malformed);
                }
            }
        }
        None
    }
}

/// The format of one file: settled by the first line that only one format writes, the first row until then.
#[derive(Default)]
struct Chosen {
    settled: Option<&'static dyn Format>,
    looked: usize,
}

impl Chosen {
    fn of(&mut self, line: &[u8]) -> &'static dyn Format {
        if self.settled.is_none() && self.looked < SNIFFED {
            self.looked += 1;
            self.settled = FORMATS.iter().find(|format| format.claims(line)).copied();
        }
        self.settled.unwrap_or(FORMATS[0])
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
