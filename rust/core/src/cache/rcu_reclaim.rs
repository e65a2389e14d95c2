//! From an rcu sheaf back to the barn: handing sheaves over, waiting for their grace periods, and taking them apart.
//!
//! Locks: first [`hands`], which a fork waits for, then the cache's line. Neither is held while readers are waited for.
//!
//! Source: `rcu_free_sheaf`, `flush_all_rcu_sheaves` (mm/slub.c); the barrier of one cache is K§7 item 1.

use super::at_fork::{Hands, hands};
use super::header::Cache;
use super::raw::RawCache;
use super::rcu_lists::{Due, Line};
use super::slabs::At;
use crate::error::Error;
use crate::os;
use crate::pages::NodeId;
use crate::percpu::{Cpu, no_sheaf, stop};
use crate::rcu::{self, Cookie};
use crate::sheaf::{Shape, Sheaf, full_limit};
use crate::stats::Stat;
use crate::sync::{Bug, Index, TaggedStack};
use core::ptr::NonNull;
use std::time::{Duration, Instant};

/// The shape of loose batches, whatever the cache's own sheaves are.
pub(super) const LOOSE: Shape = Shape { capacity: 60, block: 512 };
/// Bytes of objects above which a batch of sheaves is not filled further before readers are waited for.
const BATCH_BYTES: u64 = 4 << 20;
/// Batches that wait before frees help.
const BATCHES: u64 = 4;
/// A free that helps does not wait longer than this: a reader may be waiting for something that the caller holds.
const HELP: Duration = Duration::from_millis(10);
/// Empty sheaves that a barn keeps (`MAX_EMPTY_SHEAVES`).
const MAX_EMPTY: u64 = 10;

/// Whether so much waits that a free should help.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Backlog {
    Little,
    Much,
}

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
    at.hand_over();
    let mut cookie = rcu::get_state();
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
    let mut pause = Duration::ZERO;
    while !rcu::poll_state(cookie) {
        if !go_on() {
            return false;
        }
        if pause.is_zero() {
            os::yield_now();
        } else {
            std::thread::sleep(pause);
        }
        pause = (2 * pause).clamp(Duration::from_micros(16), Duration::from_millis(1));
    }
    true
}

/// Does what can be done without waiting, if enough sheaves wait.
pub(super) fn relieve(cache: &Cache) -> Backlog {
    let at = At::new(cache);
    let batch = at.batch();
    // The counter first: it is never the smaller one, and the stack's own count takes a wide load.
    if cache.rcu.queued.get() >= batch && cache.rcu.waiting.len(cache.form()) >= batch {
        at.advance(2 * batch);
    }
    if cache.rcu.queued.get() >= BATCHES * batch { Backlog::Much } else { Backlog::Little }
}

impl At<'_> {
    /// Sheaves after which the waiting ones get a cookie: as many as the barn may take back.
    fn batch(&self) -> u64 {
        let (shape, stride) = (self.cache.shape, self.cache.geometry.slab_size);
        let capacity = if self.cache.has_sheaves() { shape.capacity } else { LOOSE.capacity };
        full_limit(capacity, stride).min(BATCH_BYTES / (u64::from(capacity) * stride as u64)).max(2)
    }

    /// Takes up to `limit` ripe sheaves apart and gives the waiting ones a cookie, unless another thread is at it.
    pub(super) fn advance(&self, limit: u64) {
        let hands = hands();
        if let Some(mut line) = self.cache.rcu.try_line() {
            self.reclaim_ripe(&mut line, limit, &hands);
            self.collect(&mut line, &hands);
        }
    }

    /// Waits a little for readers, since more sheaves wait than the cache should have.
    pub(super) fn help(&self) {
        let (begun, mut pause) = (Instant::now(), Duration::from_micros(20));
        loop {
            self.advance(BATCHES * self.batch());
            if self.cache.rcu.queued.get() < BATCHES * self.batch() || begun.elapsed() > HELP {
                return;
            }
            std::thread::sleep(pause);
            pause = (2 * pause).min(Duration::from_millis(1));
        }
    }

    /// Hands over what every CPU and every loose batch has, full or not, with a cookie. True if anything waits now.
    pub(super) fn hand_over(&self) -> bool {
        let hands = hands();
        let mut line = self.cache.rcu.line();
        for cpu in self.cache.cpus() {
            // SAFETY: the cache's own slots; the line is locked, so nobody else drains, and forks wait.
            if let Some((cursor, rounds)) = unsafe { self.cache.backend.drain_rcu(self.cache.slots(), cpu) } {
                self.bump(Stat::DrainRetry, u64::from(rounds - 1));
                self.queue(self.sheaf_at(cursor), self.cache.arena.node_of(cpu), &hands);
            }
        }
        for node in self.cache.nodes() {
            if let Some(batch) = self.open_batch(node) {
                self.close_batch(batch, node, &hands);
            }
        }
        self.collect(&mut line, &hands);
        line.first().is_some()
    }

    /// Hands everything over and looks at each object that waits.
    pub(super) fn each_rcu_object(&self, mut look: impl FnMut(NodeId, *mut u8)) {
        if !self.cache.rcu.is_used() || !self.hand_over() {
            return;
        }
        let _hands = hands();
        let line = self.cache.rcu.line();
        line.visit(&self.links(), |index| {
            let Due { loose, node, .. } = self.due(index);
            let shape = if loose { LOOSE } else { self.cache.shape };
            let sheaf = self.saved_sheaf(index);
            sheaf.objects(shape).iter().for_each(|&object| look(NodeId(node), object));
            sheaf.save(shape);
        });
    }

    /// Gives a cookie to sheaves that came on the stack since; the cookie, if there were any.
    pub(super) fn collect_stragglers(&self) -> Option<Cookie> {
        let hands = hands();
        let mut line = self.cache.rcu.line();
        self.collect(&mut line, &hands)
    }

    /// Puts a sheaf that was taken off its CPU among the waiting ones.
    pub(super) fn queue(&self, sheaf: Sheaf, node: NodeId, _: &Hands) {
        self.bump(Stat::FreeRcuSheaf, u64::from(sheaf.level(self.cache.shape)));
        self.put_on_stack(sheaf.save(self.cache.shape), Due { cookie: 0, loose: false, node: node.0 });
    }

    /// As [`At::queue`], for a loose batch.
    pub(super) fn queue_loose(&self, batch: Sheaf, node: NodeId, _: &Hands) {
        self.put_on_stack(batch.save(LOOSE), Due { cookie: 0, loose: true, node: node.0 });
    }

    fn put_on_stack(&self, block: *mut u64, due: Due) {
        // SAFETY: the caller saved the sheaf, which is its own.
        unsafe { Sheaf::set_due(block, due.code()) };
        self.cache.rcu.queued.add(1);
        self.cache.rcu.waiting.push(self.cache.form(), &self.links(), self.index_of(block));
    }

    fn block(&self, sheaf: Index) -> *mut u64 {
        self.cache.arena.pages.meta().at(sheaf).cast().as_ptr()
    }

    fn due(&self, sheaf: Index) -> Due {
        // SAFETY: callers have the line locked and the sheaf from it.
        Due::of(unsafe { Sheaf::due(self.block(sheaf)) })
    }

    /// Moves the waiting sheaves to the end of the line, oldest first, with a cookie that is younger than all of them.
    fn collect(&self, line: &mut Line, _: &Hands) -> Option<Cookie> {
        let links = self.links();
        let (mut sheaf, count) = self.cache.rcu.waiting.take_all(self.cache.form(), &links);
        if count == 0 {
            return None;
        }
        let cookie = rcu::get_state();
        // The stack's top is the youngest.
        let mut older = 0;
        while sheaf != 0 {
            let below = TaggedStack::below(&links, sheaf);
            TaggedStack::chain(&links, sheaf, older);
            older = sheaf;
            sheaf = below;
        }
        while older != 0 {
            let next = TaggedStack::below(&links, older);
            let due = Due { cookie: cookie.0, ..self.due(older) };
            // SAFETY: the stack gave the sheaf to us.
            unsafe { Sheaf::set_due(self.block(older), due.code()) };
            line.append(&links, older);
            older = next;
        }
        Some(cookie)
    }

    /// Takes up to `limit` sheaves apart whose grace period is over, asking whether it is.
    fn reclaim_ripe(&self, line: &mut Line, limit: u64, hands: &Hands) {
        if let Some(cookie) = line.first().map(|sheaf| self.due(sheaf).cookie)
            && cookie > line.passed
            && (Bug::EarlyReclaim.planted() || rcu::poll_state(Cookie(cookie)))
        {
            line.passed = cookie;
        }
        self.reclaim_passed(line, limit, hands);
    }

    /// Takes up to `limit` sheaves apart whose grace period is known to be over; true if there are no more of them.
    fn reclaim_passed(&self, line: &mut Line, limit: u64, hands: &Hands) -> bool {
        for _ in 0..limit {
            let Some(sheaf) = line.first().filter(|&sheaf| self.due(sheaf).cookie <= line.passed) else { return true };
            line.remove_first(&self.links());
            self.cache.rcu.queued.sub(1);
            self.reclaim(sheaf, hands);
        }
        false
    }

    /// Takes everything apart that waited for a cookie whose grace period is over, or for an older one.
    pub(super) fn reclaim_until(&self, cookie: Cookie) {
        loop {
            let hands = hands();
            let mut line = self.cache.rcu.line();
            line.passed = line.passed.max(cookie.0);
            if self.reclaim_passed(&mut line, self.batch(), &hands) {
                return;
            }
        }
    }

    /// Gives a sheaf whose grace period is over to its node's barn, or its objects to their slabs.
    fn reclaim(&self, index: Index, _: &Hands) {
        let Due { loose, node, .. } = self.due(index);
        let (node, shape) = (NodeId(node), if loose { LOOSE } else { self.cache.shape });
        let mut sheaf = self.saved_sheaf(index);
        self.bump(Stat::FreeRcuDone, u64::from(sheaf.level(shape)));
        if self.cache.rcu.retains
            && let Some(retainer) = &*self.cache.rcu.retainer()
        {
            let kept = |&object: &*mut u8| NonNull::new(object).is_none_or(|object| !retainer.retain(object));
            let rest: Vec<_> = sheaf.objects(shape).iter().copied().filter(kept).collect();
            sheaf.clear(shape);
            // SAFETY: not more than there were.
            rest.into_iter().for_each(|object| unsafe { sheaf.push(object) });
        }
        if loose {
            self.bump(Stat::SheafFlush, u64::from(sheaf.level(shape)));
            self.free_grouped(sheaf.objects(shape).iter().rev().copied());
            self.drop_loose_block(self.index_of(sheaf.save(shape)));
            return;
        }
        let (barn, form) = (self.cache.barn(node), self.cache.form());
        // A fault that makes objects fail wants nothing in the barn.
        let room = barn.full(form) < self.cache.full_limit && self.cache.parked.get() == 0;
        if !sheaf.is_empty() && room {
            self.bump(Stat::BarnPut, 1);
            self.put_in_barn(node, sheaf);
            return;
        }
        if !sheaf.is_empty() {
            self.bump(Stat::BarnPutFail, 1);
            self.flush(&mut sheaf);
        }
        if barn.empty(form) < MAX_EMPTY {
            self.put_in_barn(node, sheaf);
        } else {
            self.drop_sheaf(sheaf);
        }
    }

    /// A block of the pool for loose batches.
    pub(super) fn new_loose_block(&self) -> Option<Index> {
        let pages = &self.cache.arena.pages;
        let block = self.cache.arena.sheaf_pool(LOOSE).take(pages.meta())?;
        self.bump(Stat::SheafAlloc, 1);
        Some(block)
    }

    /// Gives it back.
    pub(super) fn drop_loose_block(&self, block: Index) {
        self.bump(Stat::SheafFree, 1);
        self.cache.arena.sheaf_pool(LOOSE).put(self.cache.arena.pages.meta(), block);
    }

    /// Makes it an empty batch.
    pub(super) fn loose_sheaf(&self, block: Index) -> Sheaf {
        // SAFETY: a block of the pool for this shape, the caller's alone.
        unsafe { Sheaf::in_block(self.block(block), LOOSE) }
    }

    /// Objects on a CPU's rcu sheaf, and whether it has one.
    pub(super) fn on_rcu_sheaf(&self, cpu: Cpu) -> (u64, bool) {
        // SAFETY: the cache's own slots.
        let cursor = unsafe { self.cache.backend.peek_rcu(self.cache.slots(), cpu) };
        let there = cursor != no_sheaf() && cursor != stop();
        (if there { u64::from(self.cache.shape.level(cursor)) } else { 0 }, there)
    }

    /// See [`RawCache::rcu_pending`]. What is over is read first and what came last: a sheaf that moves on meanwhile counts
    /// twice rather than not at all.
    pub(super) fn rcu_pending(&self) -> u64 {
        if !self.cache.rcu.is_used() {
            return 0;
        }
        let sum = |stat| (-2..self.cache.arena.slots as Cpu).map(|cpu| self.cache.stat(cpu, stat).get()).sum::<u64>();
        let done = sum(Stat::FreeRcuDone);
        let on_cpus: u64 = self.cache.cpus().map(|cpu| self.on_rcu_sheaf(cpu).0).sum();
        let given = sum(Stat::FreeRcuSheaf) + sum(Stat::FreeRcuSheafFail);
        (on_cpus + given).saturating_sub(done)
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
