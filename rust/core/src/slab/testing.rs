//! A node's slabs in ordinary memory, for tests and models of the protocol.
//!
//! Everything that has one owner at a time (a page, an object, the plain fields of a descriptor) is a cell that loom watches:
//! whoever touches it without having got it properly is reported. A page that is released is written all over, as its next
//! owner would.

use super::descriptor::{ObjRef, SlabState};
use super::graveyard::{exhume, release_dead, ripen};
use super::node::NodeSlabs;
use super::protocol::{Taken, free_chain, harvest, publish, shrink};
use super::slabs::Slabs;
use crate::stats::Stat;
use crate::sync::{BitWord, Counter, DoubleWord, Form, Index, Link, Links, Published, TaggedStack};

#[cfg(loom)]
use loom::cell::Cell;
#[cfg(not(loom))]
use std::cell::Cell;

/// What a free pointer reads while its object is in use, or its page nobody's.
const NOT_FREE: u32 = u32::MAX;

/// An object that the holder of this value owns.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object {
    page: u32,
    n: u32,
}

impl Object {
    pub fn reference(&self) -> ObjRef {
        ObjRef::at(self.n as usize * 8)
    }
}

struct Page {
    /// The page map's word: which descriptor.
    map: Cell<Index>,
    free_pointers: Vec<Cell<u32>>,
    /// What a reader of a type-safe cache relies on: the pages hold objects of the type.
    typed: Cell<bool>,
}

pub struct World {
    form: Form,
    words: Vec<DoubleWord<SlabState>>,
    links: Vec<Link>,
    grave_links: Vec<Link>,
    stamps: Vec<Cell<u64>>,
    /// Page and object count of each descriptor.
    fields: Vec<Cell<(u32, u32)>>,
    pool: TaggedStack,
    pages: Vec<Page>,
    taken: BitWord,
    pub node: NodeSlabs,
    size: Size,
    stats: Vec<Counter>,
    /// Readers in their sections. Every change and every look is a read-modify-write, so that they are in one order.
    readers: Published,
    epoch: Published,
    /// A user's table of one entry: an object's page + 1.
    table: Published,
}

/// When a dead slab's pages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    AtOnce,
    /// When somebody has run the destructors.
    AfterDestructors,
    /// After the readers that were there when it died.
    AfterReaders,
}

/// How large a world is: descriptors, pages, objects of a page, wholly free slabs that stay; and how its slabs die, with how
/// many dead at a time.
#[derive(Clone, Copy)]
pub struct Size {
    pub descriptors: u32,
    pub pages: u32,
    pub objects: u32,
    pub min_partial: u64,
    pub death: Death,
    pub room: u64,
}

impl World {
    pub fn new(form: Form, size: Size) -> Self {
        let page = |_| Page {
            map: Cell::new(0),
            free_pointers: (0..size.objects).map(|_| Cell::new(NOT_FREE)).collect(),
            typed: Cell::new(false),
        };
        let unborn = SlabState { head: ObjRef::NONE, free: 0, dead: false, generation: 0 };
        let world = Self {
            form,
            words: (0..=size.descriptors).map(|_| DoubleWord::new(form, unborn)).collect(),
            links: (0..=size.descriptors).map(|_| Link::new()).collect(),
            grave_links: (0..=size.descriptors).map(|_| Link::new()).collect(),
            stamps: (0..=size.descriptors).map(|_| Cell::new(0)).collect(),
            fields: (0..=size.descriptors).map(|_| Cell::new((0, 0))).collect(),
            pool: TaggedStack::new(form),
            pages: (0..size.pages).map(page).collect(),
            taken: BitWord::new(!0 << size.pages),
            node: NodeSlabs::new(form),
            size,
            stats: Stat::ALL.iter().map(|_| Counter::new()).collect(),
            readers: Published::new(0),
            epoch: Published::new(0),
            table: Published::new(0),
        };
        for slab in (1..=size.descriptors).rev() {
            world.pool.push(form, &world, slab);
        }
        world
    }

    /// Makes a slab and keeps its first `kept` objects, or all. `None`: descriptors or pages are out.
    pub fn new_slab(&self, kept: u32) -> Option<Vec<Object>> {
        let slab = self.pool.pop(self.form, self)?;
        let Some(page) = self.take_page() else {
            self.pool.push(self.form, self, slab);
            return None;
        };
        let total = self.pages[page as usize].free_pointers.len() as u32;
        let kept = kept.min(total);
        self.fields[slab as usize].set((page, total));
        self.pages[page as usize].map.set(slab);
        self.pages[page as usize].typed.set(true);
        let reference = |n: u32| if n < total { ObjRef::at(n as usize * 8) } else { ObjRef::NONE };
        for n in kept..total {
            self.set_next(slab, reference(n), reference(n + 1));
        }
        publish(self, slab, reference(kept), total - kept);
        Some((0..kept).map(|n| Object { page, n }).collect())
    }

    fn take_page(&self) -> Option<u32> {
        loop {
            let seen = self.taken.peek();
            let page = seen.trailing_ones();
            if page as usize >= self.pages.len() {
                return None;
            }
            if self.taken.try_take(seen, 1 << page).is_ok() {
                return Some(page);
            }
        }
    }

    /// Gives back objects of one slab by one swap, the first as the chain's head.
    pub fn free(&self, objects: Vec<Object>) {
        let (Some(first), Some(last)) = (objects.first(), objects.last()) else { return };
        let slab = self.pages[first.page as usize].map.get();
        for pair in objects.windows(2) {
            self.set_next(slab, pair[0].reference(), pair[1].reference());
        }
        free_chain(self, slab, first.reference(), last.reference(), objects.len() as u32);
    }

    /// Takes up to `need` objects from partial slabs.
    pub fn harvest(&self, need: u32) -> Vec<Object> {
        let mut got = vec![];
        harvest(self, &self.node, need, |slab, head, free| {
            let used = free.min(need - got.len() as u32);
            let (page, _) = self.fields[slab as usize].get();
            let mut object = head;
            for _ in 0..used {
                let next = self.next(slab, object);
                self.free_pointer(slab, object).set(NOT_FREE);
                got.push(Object { page, n: (object.offset() / 8) as u32 });
                object = next;
            }
            Taken { used, rest: object }
        });
        got
    }

    /// Takes `need` objects, of new slabs where partial ones are not enough.
    pub fn refill(&self, need: u32) -> Vec<Object> {
        let mut got = self.harvest(need);
        while (got.len() as u32) < need {
            let Some(more) = self.new_slab(need - got.len() as u32) else { break };
            got.extend(more);
        }
        got
    }

    pub fn shrink(&self) -> u64 {
        shrink(self, &self.node)
    }

    /// Ends the dead whose wait is over; returns how many.
    pub fn reap(&self) -> u32 {
        let mut gone = 0;
        ripen(self, &self.node);
        while let Some(slab) = exhume(self, &self.node) {
            release_dead(self, slab);
            gone += 1;
        }
        gone
    }

    /// Shows an object to readers, or no longer.
    pub fn show(&self, object: Option<&Object>) {
        self.table.publish(object.map_or(0, |object| u64::from(object.page) + 1));
    }

    /// Does something inside a read section.
    pub fn reading(&self, work: impl FnOnce()) {
        self.readers.take(1);
        work();
        self.readers.take(u64::MAX);
    }

    /// A read section: looks at the object that is shown. Whatever became of it, its memory still is what it was.
    pub fn read(&self) {
        self.reading(|| {
            if let Some(page) = self.table.read().checked_sub(1) {
                assert!(self.pages[page as usize].typed.get(), "a reader's object is no object any more");
            }
        });
    }

    pub fn stat(&self, stat: Stat) -> u64 {
        self.stats[stat as usize].get()
    }

    fn free_pointer(&self, slab: Index, object: ObjRef) -> &Cell<u32> {
        let (page, _) = self.fields[slab as usize].get();
        &self.pages[page as usize].free_pointers[object.offset() / 8]
    }

    /// At the end, when the caller is alone and holds `held`: every object of every living slab is held or free, once; every
    /// descriptor is a living slab's or in the pool, once; nothing is listed that has no free object.
    pub fn check(&self, mut held: Vec<Object>) {
        let listed = self.node.listed(self.form);
        // Harvests bury a bounded number of tombstones each.
        for _ in 0..=listed {
            held.extend(self.harvest(u32::MAX));
        }
        self.reap();
        assert_eq!(self.node.grave().dead(), 0, "a dead slab was lost");
        assert_eq!((self.node.listed(self.form), self.node.partial(self.form)), (0, 0), "a stack's length is wrong");
        held.sort_unstable();
        let living: Vec<_> = (0..self.pages.len() as u32).filter(|page| self.taken.peek() >> page & 1 != 0).collect();
        let every: Vec<_> = living
            .iter()
            .flat_map(|&page| (0..self.pages[0].free_pointers.len() as u32).map(move |n| Object { page, n }))
            .collect();
        assert_eq!(held, every, "an object was lost or doubled");
        assert_eq!(self.node.slabs(), living.len() as u64, "slabs are miscounted");
        let mut descriptors: Vec<_> = living.iter().map(|&page| self.pages[page as usize].map.get()).collect();
        descriptors.extend(core::iter::from_fn(|| self.pool.pop(self.form, self)).take(self.links.len()));
        descriptors.sort_unstable();
        let every: Vec<_> = (1..self.links.len() as u32).collect();
        assert_eq!(descriptors, every, "a descriptor was lost or doubled");
    }
}

impl Links for World {
    fn link(&self, index: Index) -> &Link {
        &self.links[index as usize]
    }
}

impl Slabs for World {
    type Run = u32;

    fn form(&self) -> Form {
        self.form
    }

    fn word(&self, slab: Index) -> &DoubleWord<SlabState> {
        &self.words[slab as usize]
    }

    fn total(&self, slab: Index) -> u32 {
        self.fields[slab as usize].get().1
    }

    fn run(&self, slab: Index) -> u32 {
        self.fields[slab as usize].get().0
    }

    fn node(&self, slab: Index) -> &NodeSlabs {
        let _read = self.fields[slab as usize].get();
        &self.node
    }

    fn min_partial(&self) -> u64 {
        self.size.min_partial
    }

    fn set_next(&self, slab: Index, object: ObjRef, next: ObjRef) {
        self.free_pointer(slab, object).set(next.0);
    }

    fn next(&self, slab: Index, object: ObjRef) -> ObjRef {
        let next = self.free_pointer(slab, object).get();
        assert_ne!(next, NOT_FREE, "a free list leads to an object that is not free");
        ObjRef(next)
    }

    fn release(&self, page: u32) {
        let at = &self.pages[page as usize];
        at.map.set(0);
        at.typed.set(false);
        at.free_pointers.iter().for_each(|pointer| pointer.set(NOT_FREE));
        let before = self.taken.give(1 << page);
        assert_ne!(before & 1 << page, 0, "a page was released twice");
    }

    fn recycle(&self, slab: Index) {
        self.pool.push(self.form, self, slab);
    }

    fn count(&self, stat: Stat, n: u64) {
        self.stats[stat as usize].add(n);
    }

    fn defers(&self) -> bool {
        self.size.death != Death::AtOnce
    }

    fn has_room_for_dead(&self, node: &NodeSlabs) -> bool {
        node.grave().dead() < self.size.room
    }

    fn grave_link(&self, slab: Index) -> &Link {
        &self.grave_links[slab as usize]
    }

    fn wait_for(&self) -> Option<u64> {
        (self.size.death == Death::AfterReaders).then(|| self.epoch.take(1))
    }

    fn is_over(&self, _stamp: u64) -> bool {
        self.readers.take(0) == 0
    }

    fn set_stamp(&self, slab: Index, stamp: u64) {
        self.stamps[slab as usize].set(stamp);
    }

    fn stamp(&self, slab: Index) -> u64 {
        self.stamps[slab as usize].get()
    }
}
