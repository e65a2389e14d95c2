//! Anonymous memory that runs out on command.

#![forbid(unsafe_code)]

use super::contract::PageSource;
use crate::os::mem::Mapping;
use crate::sync::{Counter, Published};
use std::io;
use std::sync::Arc;

/// How many grants are left; this many stands for "no end".
const HEALTHY: u64 = u64::MAX;

/// The handle of a failing page source. Clones are the same switch; any thread may turn it at any time.
#[derive(Clone, Debug)]
pub struct FailSwitch {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    left: Published,
    refused: Counter,
}

impl FailSwitch {
    /// A switch that grants everything until told otherwise.
    #[must_use]
    pub fn new() -> Self {
        Self { state: Arc::new(State { left: Published::new(HEALTHY), refused: Counter::new() }) }
    }

    /// Grants `grants` more requests (each a page run, a span or a growth of the metadata), then refuses all.
    pub fn fail_after(&self, grants: u64) {
        self.state.left.publish(grants);
    }

    /// Refuses all requests from now on.
    pub fn fail_now(&self) {
        self.fail_after(0);
    }

    /// Grants everything again.
    pub fn heal(&self) {
        self.state.left.publish(HEALTHY);
    }

    /// How many requests were refused since the switch was made.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.state.refused.get()
    }
}

impl Default for FailSwitch {
    fn default() -> Self {
        Self::new()
    }
}

impl PageSource for FailSwitch {
    fn name(&self) -> &'static str {
        "failing"
    }

    fn reserve(&self, len: usize) -> io::Result<Mapping> {
        Mapping::anonymous(len)
    }

    fn grant(&self, _: usize) -> bool {
        let mut left = self.state.left.read();
        loop {
            match left {
                HEALTHY => return true,
                0 => {
                    self.state.refused.add(1);
                    return false;
                }
                _ => match self.state.left.publish_if(left, left - 1) {
                    Ok(()) => return true,
                    Err(now) => left = now,
                },
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
#[path = "failing_tests.rs"]
mod tests;
