#![forbid(unsafe_code)]
//! What looks after objects of `free_rcu` when nobody frees again: a task of the service thread, and the barrier of all caches.

use super::at_fork;
use super::header::Cache;
use super::raw::RawCache;
use super::rcu_reclaim::wait;
use super::slabs::At;
use super::undertaker;
use crate::error::Error;
use crate::os::fork::Hooks;
use crate::rcu::{self, Flush};
use crate::service::{self, Task};
use crate::sync::{Gong, TryFlag};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Every batch is handed over so often, full or not. Half of what is promised: the thread may be late.
const PERIOD: Duration = Duration::from_secs(1);
/// How often a grace period that readers hold up is looked at.
const AGAIN: Duration = Duration::from_millis(20);

/// Up while the task is sure to run again.
static ARMED: Gong = Gong::new();

extern "C" fn in_child() {
    // The service thread stayed in the parent: the next one to arm starts another.
    ARMED.hear();
}

static FORKS: Hooks = Hooks::in_child(in_child);

/// The time of the next hand-over, while anything waits.
static NEXT: Mutex<Option<Instant>> = Mutex::new(None);

struct Ages;

/// After a batch was begun: has it looked after. The batch is where the task finds it by now.
pub(super) fn arm() {
    if ARMED.ring() {
        register();
        service::kick();
    }
}

fn register() {
    static REGISTERED: TryFlag = TryFlag::new();
    if !REGISTERED.is_held_by(|mark| mark != 0) && REGISTERED.try_take(1, |_| false) {
        FORKS.watch();
        service::register(&Ages);
        rcu::on_barrier(&Ages);
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
        let now = Instant::now();
        let mut next = NEXT.lock().unwrap_or_else(PoisonError::into_inner);
        let due = *next.get_or_insert(now + PERIOD);
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
            pending |= at.rcu_pending() > 0;
            queued |= cache.rcu.queued.get() > 0;
        });
        *next = pending.then(|| if now >= due { now + PERIOD } else { due });
        let again = *next;
        drop(next);
        undertaker::settle_all();
        let again = again?;
        ARMED.ring();
        let until = again.saturating_duration_since(now);
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
            }
        });
        undertaker::settle_all();
        Ok(true)
    }
}
