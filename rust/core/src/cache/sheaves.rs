//! Sheaves in motion: made, filled from slabs, flushed to slabs, put in barns and fetched from there.

use super::construct::Failed;
use super::slabs::{At, Pages};
use crate::pages::NodeId;
use crate::percpu::{Cpu, stop};
use crate::sheaf::Sheaf;
use crate::slab::{ObjRef, Taken, free_chain, harvest};
use crate::stats::Stat;
use crate::sync::Index;
use core::ptr::NonNull;

/// What a fill got: at least one new slab was taken, or partial ones were enough.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Filled {
    Partial,
    NewSlab,
}

impl At<'_> {
    /// An empty sheaf from the pool.
    pub fn new_sheaf(&self) -> Option<Sheaf> {
        let shape = self.cache.shape;
        let pages = &self.cache.arena.pages;
        let index = self.cache.arena.sheaf_pool(shape).take(pages.meta())?;
        self.bump(Stat::SheafAlloc, 1);
        // SAFETY: a block of the pool for this shape, ours alone.
        Some(unsafe { Sheaf::in_block(pages.meta().at(index).cast().as_ptr(), shape) })
    }

    /// Returns an empty sheaf to the pool.
    pub fn drop_sheaf(&self, sheaf: Sheaf) {
        debug_assert!(sheaf.is_empty());
        self.bump(Stat::SheafFree, 1);
        let pages = &self.cache.arena.pages;
        let index = self.index_of(sheaf.save(self.cache.shape));
        self.cache.arena.sheaf_pool(self.cache.shape).put(pages.meta(), index);
    }

    pub fn index_of(&self, block: *mut u64) -> Index {
        // SAFETY: a block is not null.
        self.cache.arena.pages.meta().index_of(unsafe { NonNull::new_unchecked(block.cast()) })
    }

    /// The sheaf under a cursor that was displaced from a slot and is ours now.
    pub fn sheaf_at(&self, cursor: *mut u64) -> Sheaf {
        // SAFETY: callers pass cursors that a slot gave up to them.
        unsafe { Sheaf::from_cursor(cursor) }
    }

    pub fn saved_sheaf(&self, index: Index) -> Sheaf {
        let block = self.cache.arena.pages.meta().at(index).cast().as_ptr();
        // SAFETY: the index was just popped from a barn, into which `save` put it.
        unsafe { Sheaf::from_saved(block) }
    }

    /// A full sheaf from a node's barn.
    #[inline(never)]
    #[unsafe(link_section = "haybarn_barn")]
    pub fn barn_full(&self, node: NodeId) -> Option<Sheaf> {
        let barn = self.cache.barn(node);
        barn.get_full(self.cache.form(), &self.links()).map(|index| self.saved_sheaf(index))
    }

    /// Up to two full sheaves from a node's barn.
    #[inline(never)]
    #[unsafe(link_section = "haybarn_barn")]
    pub fn two_full(self, node: NodeId) -> (Option<Sheaf>, Option<Sheaf>) {
        let [first, second] = self.cache.barn(node).get_two_full(self.cache.form(), &self.links());
        (first.map(|index| self.saved_sheaf(index)), second.map(|index| self.saved_sheaf(index)))
    }

    /// Objects in a node's barn; exact when quiet.
    pub fn barn_objects(&self, node: NodeId) -> u64 {
        let mut objects = 0;
        self.cache.barn(node).visit_full(self.cache.form(), &self.links(), |index| {
            let block = self.cache.arena.pages.meta().at(index).cast().as_ptr();
            // SAFETY: what is in a barn is a block of the pool.
            objects += u64::from(unsafe { Sheaf::saved_level(block, self.cache.shape) });
        });
        objects
    }

    /// Shows the objects that lie in sheaves of CPUs and barns, by their addresses; exact when quiet, otherwise some may be in
    /// use by now, and some may be none.
    pub fn each_cached(&self, mut look: impl FnMut(*mut u8)) {
        let (cache, shape) = (self.cache, self.cache.shape);
        for cpu in cache.cpus().filter(|_| cache.has_sheaves()) {
            // SAFETY: the cache's own slots.
            let pair = unsafe { cache.backend.peek(cache.slots(), cpu) };
            for cursor in [pair.main, pair.spare].into_iter().filter(|&cursor| !cursor.is_null() && cursor != stop()) {
                // SAFETY: a cursor points into a block of the pool.
                unsafe { Sheaf::peek(shape.base(cursor), shape.level(cursor), shape, &mut look) };
            }
        }
        for node in cache.nodes() {
            cache.barn(node).visit_full(cache.form(), &self.links(), |index| {
                let block = cache.arena.pages.meta().at(index).cast().as_ptr();
                // SAFETY: what is in a barn is a block of the pool.
                unsafe { Sheaf::peek(block, Sheaf::saved_level(block, shape), shape, &mut look) };
            });
        }
    }

    /// A number that changes with what the CPU's sheaves hold; 0: nothing.
    pub fn fingerprint(&self, cpu: Cpu) -> u64 {
        // SAFETY: the cache's own slots.
        let pair = unsafe { self.cache.backend.peek(self.cache.slots(), cpu) };
        let holds = |cursor: *mut u64| !cursor.is_null() && cursor != stop() && !self.cache.shape.is_empty(cursor);
        if holds(pair.main) || holds(pair.spare) {
            // SAFETY: as above.
            let (allocs, frees) = unsafe { self.cache.backend.peek_hits(self.cache.slots(), cpu) };
            (pair.main.addr() as u64).rotate_left(20) ^ pair.spare.addr() as u64 ^ (allocs ^ frees << 32).rotate_left(9)
                | 1
        } else {
            0
        }
    }

    /// An empty sheaf from a node's barn.
    #[inline(never)]
    #[unsafe(link_section = "haybarn_barn")]
    pub fn barn_empty(&self, node: NodeId) -> Option<Sheaf> {
        let index = self.cache.barn(node).get_empty(self.cache.form(), &self.links())?;
        Some(self.saved_sheaf(index))
    }

    /// Puts a sheaf in a node's barn, among the full or the empty ones by what it holds; no limit.
    #[inline(never)]
    #[unsafe(link_section = "haybarn_barn")]
    pub fn put_in_barn(&self, node: NodeId, sheaf: Sheaf) {
        let (barn, is_empty) = (self.cache.barn(node), sheaf.is_empty());
        let index = self.index_of(sheaf.save(self.cache.shape));
        if is_empty {
            barn.put_empty(self.cache.form(), &self.links(), index);
        } else {
            barn.put_full(self.cache.form(), &self.links(), index);
        }
    }

    /// Up to two empty sheaves from a node's barn.
    #[inline(never)]
    #[unsafe(link_section = "haybarn_barn")]
    pub fn two_empty(self, node: NodeId) -> (Option<Sheaf>, Option<Sheaf>) {
        let [first, second] = self.cache.barn(node).get_two_empty(self.cache.form(), &self.links());
        (first.map(|index| self.saved_sheaf(index)), second.map(|index| self.saved_sheaf(index)))
    }

    /// Puts two full sheaves in a node's barn, the first on top; no limit.
    #[inline(never)]
    #[unsafe(link_section = "haybarn_barn")]
    pub fn put_two_full(self, node: NodeId, first: Sheaf, second: Sheaf) {
        let two = [first, second].map(|sheaf| self.index_of(sheaf.save(self.cache.shape)));
        self.cache.barn(node).put_two_full(self.cache.form(), &self.links(), two);
    }

    /// Puts two empty sheaves in a node's barn.
    #[inline(never)]
    #[unsafe(link_section = "haybarn_barn")]
    pub fn put_two_empty(self, node: NodeId, first: Sheaf, second: Sheaf) {
        let two = [first, second].map(|sheaf| self.index_of(sheaf.save(self.cache.shape)));
        self.cache.barn(node).put_two_empty(self.cache.form(), &self.links(), two);
    }

    /// Takes up to `need` objects from a node's partial slabs.
    #[inline(never)]
    #[unsafe(link_section = "haybarn_partial")]
    pub fn take_partial(&self, node: NodeId, need: u32, mut take: impl FnMut(*mut u8)) -> u32 {
        let mut missing = need;
        harvest(self, self.cache.node(node), need, |slab, head, free| {
            let mut object = self.object(slab, head);
            let used = free.min(missing);
            missing -= used;
            for _ in 0..used {
                let next = self.next_of(object);
                take(object);
                object = next;
            }
            Taken { used, rest: if used < free { self.reference(slab, object) } else { ObjRef::NONE } }
        })
    }

    /// Takes up to `need` objects from a new slab: the first ones, given in descending order, so that a stack hands them
    /// out ascending. 0 when memory is out.
    ///
    /// # Errors
    /// A constructor failed; nothing was taken.
    #[inline(never)]
    #[unsafe(link_section = "haybarn_new_slab")]
    pub fn take_new_slab(
        &self,
        node: NodeId,
        pages: Pages,
        need: u32,
        mut take: impl FnMut(*mut u8),
    ) -> Result<u32, Failed> {
        let Some(new) = self.new_slab(node, pages)? else { return Ok(0) };
        let kept = need.min(new.total);
        let stride = self.cache.geometry.slab_size;
        for n in (0..kept).rev() {
            take(new.base.as_ptr().wrapping_add(n as usize * stride));
        }
        self.publish(&new, kept);
        Ok(kept)
    }

    /// Fills a sheaf from a node's slabs, as far as memory goes: partial ones, then now and then those of other nodes, then new
    /// ones. Source: `refill_objects`.
    ///
    /// # Errors
    /// A constructor failed; what the sheaf held went to the slabs, and it is empty.
    #[unsafe(link_section = "haybarn_refill")]
    pub fn fill(&self, sheaf: &mut Sheaf, node: NodeId) -> Result<Filled, Failed> {
        let room = sheaf.room(self.cache.shape);
        let mut filled = Filled::Partial;
        let mut got = 0;
        while got < room {
            let missing = room - got;
            if filled == Filled::Partial {
                got += self.harvest_into(sheaf, node, missing);
                if got < room {
                    for other in self.lenders(node) {
                        got += self.harvest_into(sheaf, other, room - got);
                        if got >= room {
                            break;
                        }
                    }
                }
            }
            if got >= room {
                break;
            }
            // SAFETY: no more than the room is asked for.
            let fresh = match self.take_new_slab(node, Pages::Any, room - got, |object| unsafe { sheaf.push(object) }) {
                Ok(0) => break,
                Ok(fresh) => fresh,
                Err(failed) => {
                    self.bump(Stat::SheafRefill, u64::from(got));
                    self.flush(sheaf);
                    return Err(failed);
                }
            };
            filled = Filled::NewSlab;
            got += fresh;
        }
        self.bump(Stat::SheafRefill, u64::from(got));
        Ok(filled)
    }

    #[unsafe(link_section = "haybarn_refill")]
    fn harvest_into(&self, sheaf: &mut Sheaf, node: NodeId, mut missing: u32) -> u32 {
        harvest(self, self.cache.node(node), missing, |slab, head, free| {
            let used = free.min(missing);
            missing -= used;
            let mut object = self.object(slab, head);
            for _ in 0..used {
                let next = self.next_of(object);
                // SAFETY: `used` is at most what is missing to full.
                unsafe { sheaf.push(object) };
                object = next;
            }
            Taken { used, rest: if used < free { self.reference(slab, object) } else { ObjRef::NONE } }
        })
    }

    /// Flushes a sheaf to the slabs and leaves it empty. Source: `sheaf_flush_unused`.
    #[inline(never)]
    #[unsafe(link_section = "haybarn_flush")]
    pub fn flush(&self, sheaf: &mut Sheaf) {
        if sheaf.is_empty() {
            return;
        }
        self.bump(Stat::SheafFlush, u64::from(sheaf.level(self.cache.shape)));
        self.free_grouped(sheaf.objects(self.cache.shape).iter().rev().copied());
        sheaf.clear(self.cache.shape);
    }

    /// Gives objects to their slabs, those of one slab by one swap. Slabs in the order in which they first appear, so that
    /// one thread's work is reproducible. Source: `build_detached_freelist`, without its bounded look-back.
    #[inline(never)]
    #[unsafe(link_section = "haybarn_flush")]
    pub fn free_grouped(&self, objects: impl Iterator<Item = *mut u8>) {
        let mut groups = Groups::new();
        for object in objects {
            if let Some(full) = groups.add(self, self.slab_of(object), object) {
                full.free(self);
            }
        }
        groups.free(self);
    }
}

#[derive(Clone, Copy)]
struct Group {
    slab: Index,
    head: *mut u8,
    tail: *mut u8,
    count: u32,
}

impl Group {
    fn free(&self, at: &At<'_>) {
        let (head, tail) = (at.reference(self.slab, self.head), at.reference(self.slab, self.tail));
        free_chain(at, self.slab, head, tail, self.count);
    }
}

/// Groups open at once. Sheaves of the usual capacities never have more slabs than that.
const GROUPS: usize = 64;
const BUCKETS: usize = 2 * GROUPS;

/// A small hash table from slab to chain, in order of first appearance.
struct Groups {
    groups: [core::mem::MaybeUninit<Group>; GROUPS],
    len: usize,
    /// Position in `groups` + 1, found by open addressing.
    buckets: [u8; BUCKETS],
}

impl Groups {
    fn new() -> Self {
        Self { groups: [const { core::mem::MaybeUninit::uninit() }; GROUPS], len: 0, buckets: [0; BUCKETS] }
    }

    fn as_mut_slice(&mut self) -> &mut [Group] {
        // SAFETY: the first `len` are written.
        unsafe { core::slice::from_raw_parts_mut(self.groups.as_mut_ptr().cast(), self.len) }
    }

    /// Adds an object; when the table was full, gives the old table back to be freed first.
    fn add(&mut self, at: &At<'_>, slab: Index, object: *mut u8) -> Option<Self> {
        let mut bucket = slab as usize % BUCKETS;
        loop {
            match self.buckets[bucket] {
                0 => break,
                n => {
                    let group = &mut self.as_mut_slice()[n as usize - 1];
                    if group.slab == slab {
                        at.link_to(group.tail, object);
                        group.tail = object;
                        group.count += 1;
                        return None;
                    }
                }
            }
            bucket = (bucket + 1) % BUCKETS;
        }
        let mut full = None;
        if self.len == GROUPS {
            full = Some(core::mem::replace(self, Self::new()));
            bucket = slab as usize % BUCKETS;
        }
        self.groups[self.len].write(Group { slab, head: object, tail: object, count: 1 });
        self.len += 1;
        self.buckets[bucket] = self.len as u8;
        full
    }

    fn free(mut self, at: &At<'_>) {
        for group in self.as_mut_slice() {
            group.free(at);
        }
    }
}
