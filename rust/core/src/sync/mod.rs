//! Atomics by role, the doubleword, the tagged stack, and the shim for the model checkers.
//!
//! No other module names a memory ordering.

mod bell;
mod bits;
mod doubleword;
mod grace;
mod plant;
mod roles;
mod setup;
mod shim;
mod stack;
mod wide;

pub(crate) use bell::{Bell, Rung};
pub(crate) use bits::{BitWord, SummaryWord};
pub use doubleword::Form;
pub(crate) use doubleword::{DoubleWord, Fields};
pub(crate) use grace::{CrowdWord, GraceSeq, OwnPtr, OwnWord, ReaderWord, Sides};
#[doc(hidden)]
pub use plant::Bug;
pub use roles::{Counter, Published, PublishedPtr};
pub(crate) use roles::{Gong, TryFlag};
pub(crate) use setup::{Phase, Refused, SetupWord};
#[cfg(all(test, shuttle, not(loom)))]
pub(crate) use shim::scheduled;
#[cfg(all(shuttle, not(loom)))]
pub(crate) use shim::{step, yield_to_others};
pub(crate) use stack::{Index, Link, Links, TaggedStack};
