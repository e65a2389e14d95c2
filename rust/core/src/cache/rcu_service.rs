#![forbid(unsafe_code)]
//! What looks after objects of `free_rcu` when nobody frees again: a task of the service thread, and the barrier of all caches.

use super::at_fork;
use super::header::Cache;
use super::idle;
use super::in_use;
use super::raw::RawCache;
use super::rcu_barrier::wait;
use super::slabs::At;
use super::undertaker;
use crate::error::Error;
use crate::os;
use crate::rcu::{self, Flush};
use crate::service::{self, Task};
use crate::sync::{Counter, Gong};
use std::sync::Once;
use std::time::Duration;

/// Every batch is handed over so often, full or not. Half of what is promised: the thread may be late.
const PERIOD: u64 = Duration::from_secs(1).as_nanos() as u64;
/// How often a grace period that readers hold up is looked at.
const AGAIN: Duration = Duration::from_millis(20);

/// Up while the task is sure to run again.
static ARMED: Gong = Gong::new();

/// When the next hand-over is due, in nanoseconds of [`os::thread::now`]; 0: nothing waits. No lock: this thread waits for
/// registries, which a fork holds, and the child would find it locked for ever.
static NEXT: Counter = Counter::new();

struct Ages;

/// After a batch was begun: has it looked after. The batch is where the task finds it by now.
pub(super) fn arm() {
    if ARMED.ring() {
        // Without a thread the next one to arm tries again.
        if !service::kick() {
            ARMED.hear();
        }
    }
}

/// When a cache is made, under its registry's lock, so that no fork comes between: who frees something and then waits for all
/// finds this among what is flushed.
pub(super) fn register() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        at_fork::then_in_child(in_child);
        service::register(&Ages);
        rcu::on_barrier(&Ages);
        idle::register();
    });
}

/// In the child of a fork. The service thread stayed in the parent: the next one to arm starts another. So that the next free
/// of each cache does, none may find an rcu sheaf on its CPU that it could go on by the fast path.
///
/// `whole`: no lock is held by a thread that is not there.
fn in_child(whole: bool) {
    ARMED.hear();
    in_use::in_child();
    if whole {
        each_cache(|cache| {
            if cache.rcu.is_used() {
                At::new(cache).hand_over();
            }
        });
    }
}

/// Shows every cache of every arena, each arena's while its registry is locked, so that no cache goes meanwhile.
fn each_cache(mut visit: impl FnMut(&Cache)) {
    at_fork::each_registry(|registry| {
        let caches = registry.caches.iter().filter_map(|entry| RawCache::from_address(entry.slots));
        caches.for_each(|cache| visit(cache.header()));
    });
}

impl Task for Ages {
    fn run(&self) -> Option<Duration> {
        // Before the look: who begins a batch that is not seen kicks again.
        ARMED.hear();
        let now = os::thread::now();
        let due = Some(NEXT.get()).filter(|&due| due != 0).unwrap_or(now + PERIOD);
        let (mut pending, mut queued) = (false, false);
        each_cache(|cache| {
            let at = At::new(cache);
            if at.rcu_pending() == 0 {
                return;
            }
            if now >= due {
                at.hand_over();
            }
            at.advance(u64::MAX);
            undertaker::walked(cache);
            pending |= at.rcu_pending() > 0;
            queued |= cache.rcu.queued.get() > 0;
        });
        let again = pending.then_some(if now >= due { now + PERIOD } else { due });
        NEXT.set(again.unwrap_or(0));
        undertaker::settle_all();
        let until = Duration::from_nanos(again? - now);
        ARMED.ring();
        Some(if queued { until.min(AGAIN) } else { until })
    }
}

/// All caches of all arenas at once: two grace periods, however many there are.
impl Flush for Ages {
    fn flush(&self, go_on: &dyn Fn() -> bool) -> Result<bool, Error> {
        let used = |cache: &Cache| cache.rcu.is_used();
        each_cache(|cache| {
            if used(cache) {
                At::new(cache).hand_over();
                undertaker::walked(cache);
            }
        });
        let mut cookie = rcu::get_state();
        if !wait(cookie, go_on) {
            return Ok(false);
        }
        let mut stragglers = None;
        each_cache(|cache| {
            if used(cache) {
                stragglers = stragglers.max(At::new(cache).collect_stragglers());
                undertaker::walked(cache);
            }
        });
        if let Some(last) = stragglers {
            cookie = last;
            if !wait(cookie, go_on) {
                return Ok(false);
            }
        }
        each_cache(|cache| {
            if used(cache) {
                At::new(cache).reclaim_until(cookie);
                undertaker::walked(cache);
            }
        });
        undertaker::settle_all();
        Ok(true)
    }
}
