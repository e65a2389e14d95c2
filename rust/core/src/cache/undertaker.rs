#![forbid(unsafe_code)]
//! Who empties the graveyards: the operation that killed, the service thread, or a binding that is told.
//!
//! | cache | who |
//! |---|---|
//! | type-safe | the service thread, when the grace period is over; an operation, where half of the room is taken |
//! | with destructors, [`DtorMode::Inline`] | the operation that killed, at its end |
//! | [`DtorMode::Service`] | as a type-safe one |
//! | [`DtorMode::Manual`] | whoever calls [`RawCache::reap`]; the hooks are told when there is something |
//!
//! Nothing depends on the service thread: a shrink and a cache's end do the work themselves.

use super::at_fork;
use super::graveyard::{Reaper, has_dead, reap, ripen_all};
use super::header::Cache;
use super::hooks::DtorMode;
use super::raw::RawCache;
use super::slabs::{At, ROOM};
use crate::os;
use crate::rcu;
use crate::service::{self, Task};
use crate::sync::{Counter, TryFlag};
use std::time::Duration;

/// How often readers that hold up the dead are looked at.
const PERIOD: Duration = Duration::from_millis(1);

impl At<'_> {
    /// At the end of every public operation off the fast path: sees to the slabs that it killed.
    pub fn settle(&self) {
        if self.cache.defers_death && has_dead(self.cache) {
            see_to(self.cache);
        }
    }
}

#[cold]
fn see_to(cache: &Cache) {
    match (cache.dtor_mode, &cache.hooks) {
        // Frees kill no more slabs than there is room for: this backlog is bounded whether anybody comes or not.
        (DtorMode::Manual, Some(hooks)) if !cache.is_type_safe() => hooks.died(),
        (DtorMode::Inline, _) if !cache.is_type_safe() => {
            reap(cache);
        }
        (DtorMode::Manual, Some(_)) => ring(true),
        (_, hooks) => {
            // Without hooks this may be a signal handler.
            ring(hooks.is_some());
            if cache.nodes().any(|node| cache.node(node).grave().dead() >= ROOM / 2) {
                reap(cache);
            }
        }
    }
}

/// The service thread's part.
struct Undertaker;

/// When a type-safe cache without hooks is made, before anybody uses it: the thread is there from then on, since a free may have a
/// signal handler under it, where none can be started. Where the system has none to give, or a fork left it behind, the next call
/// has it back that needs it for something else; the backlog is bounded all the same.
pub(super) fn expect(cache: &Cache) {
    // A thread that shuttle does not know would make its schedules unrepeatable.
    if cache.is_type_safe() && cache.hooks.is_none() && !cfg!(shuttle) {
        register();
        service::kick();
    }
}

fn register() {
    static REGISTERED: TryFlag = TryFlag::new();
    if !REGISTERED.is_held_by(|mark| mark != 0) && REGISTERED.try_take(1, |_| false) {
        service::register(&Undertaker);
    }
}

/// Taken, by a fork generation, while the service thread is about to look, or looks again by itself.
static EXPECTED: TryFlag = TryFlag::new();

/// Has the service thread look at the dead. `may_start`: where there is none it is started, for which a lock is taken.
fn ring(may_start: bool) {
    static AGAIN: Counter = Counter::new();
    if cfg!(shuttle) {
        return;
    }
    if !EXPECTED.try_take(os::fork::generation(), os::fork::is_stale) {
        // It may have been stopped since, or the system had no thread to give: now and then it is rung for all the same.
        AGAIN.add(1);
        if !AGAIN.get().is_multiple_of(256) {
            return;
        }
    }
    if may_start {
        register();
        service::kick();
    } else {
        service::wake();
    }
}

/// A cache's place among all: the number of its arena, and its id.
type Place = (usize, u16);

impl Task for Undertaker {
    fn run(&self) -> Option<Duration> {
        // First: who lays a slab that the walk misses kicks again.
        EXPECTED.release();
        let mut some_wait = false;
        let mut last = None;
        // One cache at a time: a destructor may wait for another cache's end.
        while let Some((place, reaper)) = next_after(last, is_ours) {
            some_wait |= visit(reaper.cache());
            last = Some(place);
        }
        if some_wait {
            rcu::look_for_stalls();
            EXPECTED.try_take(os::fork::generation(), os::fork::is_stale);
        }
        some_wait.then_some(PERIOD)
    }
}

/// A walk over all caches freed into this one's slabs. It cannot settle: it holds the registries. Afterwards it calls [`settle_all`],
/// which leaves other caches alone: what their operations kill, their threads see to.
pub(super) fn walked(cache: &Cache) {
    if has_dead(cache) {
        cache.unsettled.ring();
    }
}

/// Sees to the slabs that walks over all caches killed.
pub(super) fn settle_all() {
    let mut last = None;
    while let Some((place, reaper)) = next_after(last, |cache| cache.unsettled.is_rung()) {
        reaper.cache().unsettled.hear();
        At::new(reaper.cache()).settle();
        last = Some(place);
    }
}

/// The next cache that is wanted. It does not end while the reaper lives.
fn next_after(last: Option<Place>, wanted: impl Fn(&Cache) -> bool) -> Option<(Place, Reaper<'static>)> {
    let mut arena = 0;
    let mut found = None;
    at_fork::each_registry(|registry| {
        if found.is_none() {
            let caches = registry.caches.iter().filter_map(|entry| RawCache::from_address(entry.slots));
            let next = caches
                .map(|cache| ((arena, cache.header().id), cache.header()))
                .filter(|&(place, cache)| Some(place) > last && wanted(cache))
                .min_by_key(|&(place, _)| place);
            found = next.map(|(place, cache)| (place, Reaper::enter(cache)));
        }
        arena += 1;
    });
    found
}

fn is_ours(cache: &Cache) -> bool {
    (cache.is_type_safe() || cache.dtor_mode == DtorMode::Service) && has_dead(cache)
}

/// Returns whether dead slabs still wait for readers.
fn visit(cache: &Cache) -> bool {
    match (cache.dtor_mode, &cache.hooks) {
        (DtorMode::Manual, Some(hooks)) => {
            let (some_wait, some_ripe) = ripen_all(cache);
            if some_ripe {
                hooks.died();
            }
            some_wait
        }
        _ => {
            reap(cache);
            has_dead(cache)
        }
    }
}
