#![forbid(unsafe_code)]
//! Counters that somebody set to zero. The counters themselves go on: what a cache holds is computed from them. What is
//! shown is what they have grown by since.

use super::arena::Arena;
use crate::stats::Stat;
use crate::sync::Counter;
use std::sync::OnceLock;

type Row = [Counter; Stat::ALL.len()];

/// The counters of each CPU as they were when they were last cleared, and in the last row those of calls that a binding
/// counts. Made when it is first needed.
#[derive(Default)]
pub(crate) struct Cleared(OnceLock<Box<[Row]>>);

impl Cleared {
    /// What a CPU's counter stood at.
    pub fn cpu(&self, cpu: u32, stat: Stat) -> u64 {
        self.0.get().and_then(|rows| rows.get(cpu as usize)).map_or(0, |row| row[stat as usize].get())
    }

    /// What a binding's counter stood at.
    pub fn outside(&self, stat: Stat) -> u64 {
        self.0.get().and_then(|rows| rows.last()).map_or(0, |row| row[stat as usize].get())
    }

    /// Clears a counter of a cache of that arena, which stands at `cpus`, and at `outside` where a binding counts.
    pub fn clear(&self, arena: &Arena, stat: Stat, cpus: impl Iterator<Item = u64>, outside: u64) {
        let rows: Box<[Row]> = (0..=arena.cpus).map(|_| core::array::from_fn(|_| Counter::new())).collect();
        {
            // No fork comes between: a child would wait for ever for who was about to set it.
            let _registry = arena.registry();
            // Made by another thread before: ours is dropped.
            let _made = self.0.set(rows);
        }
        let Some(rows) = self.0.get() else { return };
        for (row, value) in rows.iter().zip(cpus) {
            row[stat as usize].set(value);
        }
        if let Some(row) = rows.last() {
            row[stat as usize].set(outside);
        }
    }
}
