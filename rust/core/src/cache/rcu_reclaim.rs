//! From an rcu sheaf back to the barn: handing sheaves over, waiting for their grace periods, and taking them apart.
//!
//! Locks: first [`hands`], which a fork waits for, then the cache's line. Neither is held while readers are waited for.
//!
//! Source: `rcu_free_sheaf`, `flush_all_rcu_sheaves` (mm/slub.c); the barrier of one cache is K§7 item 1.

use super::at_fork::{Hands, hands};
use super::header::Cache;
use super::rcu_lists::{Due, Line};
use super::slabs::At;
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
            self.collect(&mut line, 0, &hands);
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
        self.hand_over_to(&mut line, &hands);
        line.first().is_some()
    }

    /// The same with the line locked; the cookie, if anything was handed over.
    pub(super) fn hand_over_to(&self, line: &mut Line, hands: &Hands) -> Option<Cookie> {
        let mut drained = 0;
        for cpu in self.cache.cpus() {
            // SAFETY: the cache's own slots; the line is locked, so nobody else drains, and forks wait.
            if let Some((cursor, rounds)) = unsafe { self.cache.backend.drain_rcu(self.cache.slots(), cpu) } {
                self.bump(Stat::DrainRetry, u64::from(rounds - 1));
                let sheaf = self.let_go(self.sheaf_at(cursor), self.cache.arena.node_of(cpu));
                TaggedStack::chain(&self.links(), sheaf, drained);
                drained = sheaf;
            }
        }
        for node in self.cache.nodes() {
            if let Some(batch) = self.open_batch(node) {
                self.close_batch(batch, node, hands);
            }
        }
        self.collect(line, drained, hands)
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

    /// Puts a sheaf that was taken off its CPU among the waiting ones.
    pub(super) fn queue(&self, sheaf: Sheaf, node: NodeId, _: &Hands) {
        self.put_on_stack(self.let_go(sheaf, node));
    }

    /// As [`At::queue`], for a loose batch.
    pub(super) fn queue_loose(&self, batch: Sheaf, node: NodeId, _: &Hands) {
        self.put_on_stack(self.close(batch, LOOSE, Due { cookie: 0, loose: true, node: node.0 }));
    }

    fn put_on_stack(&self, sheaf: Index) {
        self.cache.rcu.waiting.push(self.cache.form(), &self.links(), sheaf);
    }

    /// A sheaf that was taken off its CPU counts as queued from here on; the caller puts it somewhere.
    fn let_go(&self, sheaf: Sheaf, node: NodeId) -> Index {
        self.bump(Stat::FreeRcuSheaf, u64::from(sheaf.level(self.cache.shape)));
        self.close(sheaf, self.cache.shape, Due { cookie: 0, loose: false, node: node.0 })
    }

    fn close(&self, sheaf: Sheaf, shape: Shape, due: Due) -> Index {
        let block = sheaf.save(shape);
        // SAFETY: the sheaf was the caller's, and is saved.
        unsafe { Sheaf::set_due(block, due.code()) };
        self.cache.rcu.queued.add(1);
        self.index_of(block)
    }

    fn block(&self, sheaf: Index) -> *mut u64 {
        self.cache.arena.pages.meta().at(sheaf).cast().as_ptr()
    }

    fn due(&self, sheaf: Index) -> Due {
        // SAFETY: callers have the line locked and the sheaf from it.
        Due::of(unsafe { Sheaf::due(self.block(sheaf)) })
    }

    /// Moves the waiting sheaves, and those of the chain `drained`, to the end of the line, oldest first, with a cookie that is
    /// younger than all of them.
    pub(super) fn collect(&self, line: &mut Line, drained: Index, _: &Hands) -> Option<Cookie> {
        let links = self.links();
        // The stack is looked at where something is queued that neither of the others has. What reached the stack in a section that
        // is over was counted in it, so it is seen here.
        let mut others = line.len();
        let mut next = drained;
        while next != 0 {
            others += 1;
            next = TaggedStack::below(&links, next);
        }
        let waiting = if self.cache.rcu.queued.get() == others {
            0
        } else {
            self.cache.rcu.waiting.take_all(self.cache.form(), &links).0
        };
        if waiting == 0 && drained == 0 {
            return None;
        }
        let cookie = rcu::get_state();
        self.append(line, waiting, cookie);
        self.append(line, drained, cookie);
        Some(cookie)
    }

    fn append(&self, line: &mut Line, mut sheaf: Index, cookie: Cookie) {
        let links = self.links();
        // The chain's top is the youngest.
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
    pub(super) fn reclaim_passed(&self, line: &mut Line, limit: u64, hands: &Hands) -> bool {
        for _ in 0..limit {
            let Some(sheaf) = line.first().filter(|&sheaf| self.due(sheaf).cookie <= line.passed) else { return true };
            line.remove_first(&self.links());
            self.cache.rcu.queued.sub(1);
            self.reclaim(sheaf, hands);
        }
        false
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
}
