#![forbid(unsafe_code)]
//! Waiting until what was given to `free_rcu` is free: the barrier of one cache, and its end.
//!
//! Locks as in `rcu_reclaim`. Where no reader is in the way, one lock does for all of a barrier.
//!
//! Source: `kvfree_rcu_barrier_on_cache` (mm/slab_common.c) with what it lacked (K§7 item 1, K§9 E4).

use super::at_fork::hands;
use super::header::Cache;
use super::raw::RawCache;
use super::slabs::At;
use crate::error::Error;
use crate::rcu::{self, Cookie, Pause};
use crate::stats::Stat;
use crate::sync::Bug;

/// Sheaves that are taken apart before forks are let in.
const AT_ONCE: u64 = 64;

impl RawCache {
    /// Waits until everything that was given to this cache's `free_rcu` before has had its grace period and is free. Waits
    /// neither for other caches nor for callbacks of [`crate::rcu::call`].
    ///
    /// Source: `kvfree_rcu_barrier_on_cache` with the barrier that it lacked (K§9 E4).
    ///
    /// # Errors
    /// [`Error::InReadSection`] inside a read section; nothing is done then.
    pub fn rcu_barrier(self) -> Result<(), Error> {
        self.rcu_barrier_while(&|| true).map(|_| ())
    }

    /// As [`RawCache::rcu_barrier`], asking `go_on` at least every 50 ms while it waits; false: it gave up when told to.
    ///
    /// # Errors
    /// As [`RawCache::rcu_barrier`].
    pub fn rcu_barrier_while(self, go_on: &dyn Fn() -> bool) -> Result<bool, Error> {
        if rcu::is_reading() {
            return Err(in_read_section("rcu_barrier"));
        }
        let done = barrier(self.header(), go_on);
        At::new(self.header()).settle();
        Ok(done)
    }
}

pub(super) fn in_read_section(what: &'static str) -> Error {
    Error::InReadSection { what }
}

fn barrier(cache: &Cache, go_on: &dyn Fn() -> bool) -> bool {
    if !cache.rcu.is_used() {
        return true;
    }
    let at = At::new(cache);
    let Some(mut cookie) = at.end_at_once() else { return true };
    // A sheaf that another thread has just taken off its CPU is on the stack once that thread's read section is over. It
    // is also the grace period of what was handed over.
    if !wait(cookie, go_on) {
        return false;
    }
    if let Some(stragglers) = at.collect_stragglers() {
        cookie = stragglers;
        if !wait(cookie, go_on) {
            return false;
        }
    }
    at.reclaim_until(cookie);
    true
}

/// Waits for a grace period; false if `go_on` said no.
pub(super) fn wait(cookie: Cookie, go_on: &dyn Fn() -> bool) -> bool {
    let mut pause = Pause::default();
    while !rcu::poll_state(cookie) {
        if !go_on() {
            return false;
        }
        pause.once();
    }
    true
}

impl At<'_> {
    /// The whole of a barrier, if no reader is in its way: one lock, and no wait. Else what is to be waited for.
    fn end_at_once(&self) -> Option<Cookie> {
        let hands = hands();
        let mut line = self.cache.rcu.line();
        let cookie = self.hand_over_to(&mut line, &hands).unwrap_or_else(rcu::get_state);
        if !Bug::EarlyReclaim.planted() && !rcu::poll_state(cookie) {
            return Some(cookie);
        }
        // What is on the stack now was on its way, or is no concern of ours.
        let stragglers = self.collect(&mut line, 0, &hands);
        if stragglers.is_some() {
            return stragglers;
        }
        line.passed = line.passed.max(cookie.0);
        let all = self.reclaim_passed(&mut line, AT_ONCE, &hands);
        (!all).then_some(cookie)
    }

    /// Gives a cookie to sheaves that came on the stack since; the cookie, if there were any.
    pub(super) fn collect_stragglers(&self) -> Option<Cookie> {
        let hands = hands();
        let mut line = self.cache.rcu.line();
        self.collect(&mut line, 0, &hands)
    }

    /// Takes everything apart that waited for a cookie whose grace period is over, or for an older one.
    pub(super) fn reclaim_until(&self, cookie: Cookie) {
        loop {
            let hands = hands();
            let mut line = self.cache.rcu.line();
            line.passed = line.passed.max(cookie.0);
            if self.reclaim_passed(&mut line, AT_ONCE, &hands) {
                return;
            }
        }
    }

    /// Before the cache's end: nothing waits any more, and what a retainer kept is in its slabs.
    pub(super) fn end_rcu(&self) -> Result<(), Error> {
        if self.cache.rcu.is_used() && self.hand_over() {
            RawCache::of(self.cache).rcu_barrier()?;
        }
        let kept = self.cache.rcu.retainer().as_ref().map_or_else(Vec::new, |retainer| retainer.purge());
        for object in kept {
            self.bump(Stat::SheafFlush, 1);
            self.free_to_slab(object.as_ptr());
        }
        Ok(())
    }
}
