#![forbid(unsafe_code)]
//! Slabs: what Linux would choose for a cache's numbers, and the flags that it depends on.

pub mod flags;
pub mod geometry;
