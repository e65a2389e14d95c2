//! Atomics by role, the doubleword, the tagged stack, and the shim for the model checkers.
//!
//! No other module names a memory ordering.

mod bits;
mod doubleword;
mod roles;
mod shim;
mod stack;
mod wide;

pub(crate) use bits::{BitWord, SummaryWord};
pub use doubleword::Form;
pub(crate) use doubleword::{DoubleWord, Fields};
pub use roles::{Counter, Published};
pub(crate) use roles::{Hint, PublishedPtr, TryFlag};
pub(crate) use stack::{Index, Link, Links, TaggedStack};
