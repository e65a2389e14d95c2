//! What a row is.
#![forbid(unsafe_code)]

use super::blocks::{Kind, Target};
use super::clock::Sample;
use super::disassembly::Counts;
use std::time::Duration;

/// Live blocks of the rows of 1000.
pub const BATCH: usize = 1000;

/// One target's work in one row: runs about that many pairs of alloc and free (rounded down to [`Row::STEP`]) and times them.
pub type Work = Box<dyn FnMut(u64) -> Sample>;

/// A row that is measured in this process, in rounds.
pub trait Row: 'static {
    /// The row's name.
    const NAME: &'static str;
    /// One line for the list of rows.
    const ABOUT: &'static str;
    /// Pairs are counted in multiples of this.
    const STEP: u64 = 1;
    /// How long a round should take.
    const ROUND: Duration = Duration::from_millis(1);
    /// Sets the row up for the target `T`.
    fn work<T: Target>() -> Result<Work, String>;
}

/// A target as a row sees it.
#[derive(Clone, Copy)]
pub struct Entry {
    /// The target's name.
    pub target: &'static str,
    /// Its part in the comparison.
    pub kind: Kind,
    /// Sets the row up.
    pub work: fn() -> Result<Work, String>,
}

/// A row with its targets.
pub struct Rounds {
    /// The row's name.
    pub name: &'static str,
    /// One line for the list of rows.
    pub about: &'static str,
    /// Pairs are counted in multiples of this.
    pub step: u64,
    /// How long a round should take.
    pub round: Duration,
    /// Every target, in the order of the tables.
    pub entries: Vec<Entry>,
    /// Counts the instructions of the row's paths, by name.
    pub instructions: Option<fn() -> Instructions>,
}

/// Instructions of paths by name, or why they cannot be counted.
pub type Instructions = Result<Vec<(&'static str, Counts)>, String>;
