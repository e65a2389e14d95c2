//! What may lie in an [`Area`](super::area::Area): one row per type.

use super::area::Zeroed;
use super::chunk::Chunk;
use super::finder::CpuHints;
use super::span::Class;
use crate::sync::{Published, SummaryWord};

// SAFETY: one 64-bit atomic.
unsafe impl Zeroed for Published {}
// SAFETY: one 64-bit atomic.
unsafe impl Zeroed for SummaryWord {}
// SAFETY: 64-bit atomics, arrays of them, and a link, which is one.
unsafe impl Zeroed for Chunk {}
// SAFETY: two 64-bit atomics.
unsafe impl Zeroed for CpuHints {}
// SAFETY: a tagged stack; `sync::stack` says that all zeros is an empty one.
unsafe impl Zeroed for Class {}
