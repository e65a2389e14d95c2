//! Benchmarks: this allocator and its peers in one run, in turns, with spread and the ratio to the best peer.
//!
//! A row is a piece of work, a target an allocator. Each row is compiled once for each target, so that calls are direct and inlining
//! happens where an allocator permits it. docs/benchmarks.md says what each row does and how to read the figures.

mod blocks;
mod clock;
mod disassembly;
mod machine;
mod measure;
mod plan;
mod random;
mod report;
mod row;
mod rows;
mod summary;
mod targets;

pub use plan::{Plan, PlanError, iterate, names, run, run_child};
pub use report::Report;
pub use summary::Line;
