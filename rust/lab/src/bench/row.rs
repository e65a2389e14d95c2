//! What a row is.
#![forbid(unsafe_code)]

use super::blocks::Target;
use super::clock::Sample;
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
