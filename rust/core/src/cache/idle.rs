//! CPUs that nobody uses any more: their sheaves go back to the slabs.
//!
//! A CPU can go in many ways: it is taken offline, the affinity of a program or of a thread shrinks, the threads that were bound to
//! it end. They look alike from here: its slot does not change any more. So a task of the service thread looks at the slots of
//! caches that are in use; one that has objects and is as it was a [`PERIOD`] ago is drained. What a drain takes from a CPU
//! that is only resting costs it a refill.
//!
//! No wake-ups without work: a cache is looked at from a slow path on it until a look that finds nothing in its CPUs' sheaves.
//! The slow paths tell the task without a lock, and the inlined paths know nothing of it.
//!
//! Source: `slub_cpu_dead` (mm/slub.c); TCMalloc's reclaim of idle per-CPU caches.
#![forbid(unsafe_code)]

use super::at_fork;
use super::header::Cache;
use super::in_use::{self, ARMED, WANTED};
use super::raw::RawCache;
use super::slabs::At;
use super::undertaker;
use crate::os;
use crate::service::{self, Task};
use crate::sync::{Bug, Counter};
use std::sync::Once;
use std::time::Duration;

/// How often is looked.
const PERIOD: u64 = Duration::from_secs(2).as_nanos() as u64;

/// Within this time after a CPU was last used its sheaves are drained, where the service thread runs: two looks, and half a second
/// for a machine that is busy.
pub const CPU_IDLE: Duration = Duration::from_millis(4500);

/// When the next look is due, in nanoseconds of [`os::thread::now`]; 0: at once. The service runs every task when it is woken for
/// one.
static NEXT: Counter = Counter::new();

struct Idle;

/// When a cache is made.
pub(super) fn register() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        in_use::watch_exits();
        service::register(&Idle);
    });
}

impl Task for Idle {
    fn run(&self) -> Option<Duration> {
        let now = os::thread::now();
        let due = NEXT.get();
        if now < due {
            return Some(Duration::from_nanos(due - now));
        }
        // Before the look: who begins to use a cache that is not seen tells again.
        ARMED.hear();
        WANTED.hear();
        let mut some_used = false;
        let fences = os::membarrier::register_fences().is_ok();
        at_fork::each_registry(|registry| {
            let caches = registry.caches.iter().filter_map(|entry| RawCache::from_address(entry.slots));
            let used: Vec<_> = caches.map(RawCache::header).filter(|cache| cache.in_use.hear()).collect();
            if fences && !used.is_empty() {
                // A slow path changes a slot and then finds the gong rung or rings it. If it found it before we heard, what it
                // changed is seen from here on.
                os::membarrier::fence_everybody();
            }
            for cache in used {
                if look(cache) {
                    cache.in_use.ring();
                    some_used = true;
                }
            }
        });
        undertaker::settle_all();
        if !some_used {
            NEXT.set(0);
            return None;
        }
        ARMED.ring();
        NEXT.set(now + PERIOD);
        Some(Duration::from_nanos(PERIOD))
    }
}

/// Drains the CPUs that are as the last look found them; whether objects are left in any.
pub(super) fn look(cache: &Cache) -> bool {
    let at = At::new(cache);
    let mut some_left = false;
    for cpu in cache.cpus() {
        let now = at.fingerprint(cpu);
        let seen = cache.seen(cpu);
        if now != 0 && (now == seen.get() || Bug::HastyLook.planted()) {
            at.drain(cpu);
            undertaker::walked(cache);
            seen.set(0);
        } else {
            seen.set(now);
            some_left |= now != 0;
        }
    }
    some_left
}

impl RawCache {
    /// Gives what a CPU's sheaves hold back to the slabs: for a virtual CPU that will not be used any more. Those of the system are
    /// seen to by the service thread within [`CPU_IDLE`]. Other threads may use the cache meanwhile, on this CPU too; a CPU that
    /// the arena does not have is drained already.
    pub fn drain_cpu(self, cpu: u32) {
        let cache = self.header();
        if cpu < cache.arena.cpus {
            let at = At::new(cache);
            at.drain(cpu as i32);
            at.settle();
        }
    }
}
