#![forbid(unsafe_code)]
//! Who is at work in the graveyard of a cache, so that the cache does not end meanwhile.

use crate::os;
use crate::sync::Published;

/// How many threads are at work in a cache's graveyard: {fork generation: 32, count: 32}, so that a child does not wait for
/// threads that it does not have.
pub(crate) struct Reapers(Published);

impl Reapers {
    pub fn new() -> Self {
        Self(Published::new(0))
    }

    /// This process's generation in its place.
    pub fn generation() -> u64 {
        os::fork::generation() << 32
    }

    pub fn change(&self, change: impl Fn(u64) -> u64) {
        let mut seen = self.0.read();
        loop {
            let mine = if seen >> 32 << 32 == Self::generation() { seen } else { Self::generation() };
            match self.0.publish_if(seen, change(mine)) {
                Ok(()) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Nobody of this process.
    pub fn none(&self) -> bool {
        let seen = self.0.read();
        seen >> 32 << 32 != Self::generation() || seen as u32 == 0
    }
}
