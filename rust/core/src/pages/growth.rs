//! Growing without a lock: the bump pointer of chunks.

#![forbid(unsafe_code)]

use super::ids::ChunkIndex;
use crate::sync::Published;

/// Chunks that were never used, from the low end of the range up.
pub(super) struct Growth {
    next: Published,
    limit: u32,
}

impl Growth {
    pub fn new(limit: u32) -> Self {
        Self { next: Published::new(0), limit }
    }

    /// Takes `count` neighbouring chunks that nobody ever had; `None` when the range has no more.
    pub fn take(&self, count: u32) -> Option<ChunkIndex> {
        let mut first = self.next.read();
        loop {
            let end = first + u64::from(count);
            if end > u64::from(self.limit) {
                return None;
            }
            match self.next.publish_if(first, end) {
                Ok(()) => return Some(ChunkIndex(first as u32)),
                Err(now) => first = now,
            }
        }
    }

    /// Chunks taken so far: all below this number, none from it on.
    pub fn taken(&self) -> u32 {
        self.next.read() as u32
    }

    /// Chunks of the whole range.
    pub fn limit(&self) -> u32 {
        self.limit
    }
}

#[cfg(all(test, not(loom)))]
#[path = "growth_tests.rs"]
mod tests;
