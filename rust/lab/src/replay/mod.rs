//! Replay: a recorded stream of kernel allocations, served by an allocator and checked object by object.
//!
//! 1. [`crate::trace`] reads the files.
//! 2. [`Plan`] matches pointers and finds the caches.
//! 3. [`Shape`] says what to create for each cache.
//! 4. An engine ([`virtual_cpus`] or [`threads`]) runs the plan on a [`Design`].
//! 5. [`Report`] says what came out.
#![deny(unsafe_code)]

mod block;
mod design;
mod kmalloc;
mod options;
mod outcome;
mod pin;
mod plan;
mod report;
mod routes;
mod run;
mod shape;
mod sheaves;
mod sysfs;
mod system;
mod tally;
pub mod threads;
pub mod virtual_cpus;

pub use block::{Block, Damage};
pub use design::{Design, Made, Served, Usage};
pub use options::{Cpus, DesignKind, Options};
pub use outcome::{Live, Outcome, RunError};
pub use plan::{Counts as PlanCounts, Op, Origin, Plan, PlannedCache, PlannedObject};
pub use report::{CacheReport, Counts, Report, Seconds};
pub use run::{ReplayError, Replayed, read_only, replay};
pub use shape::Shape;
pub use sheaves::Sheaves;
pub use sysfs::{Attributes, Sysfs, SysfsError};
pub use system::System;
pub use tally::{CacheTally, Peak, Violations};
