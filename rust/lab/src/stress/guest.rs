//! The part of a thread that runs in its signal handler: it allocates and frees in the caches that the thread uses, under the
//! oracle's eyes, and passes objects to the thread and back.
//!
//! A handler and its thread take turns as two threads would, but the thread never sees the handler half-way. So lockers with a
//! state word are enough: the handler uses those that are empty or full, the thread takes one by a swap first.

use super::held::Held;
use super::interrupt::Interrupt;
use super::worker::Worker;
use crate::oracle::subject::{Handlers, Watched};
use crate::oracle::{Claims, Kind, Tag, stamp};
use crossbeam_utils::atomic::AtomicCell;
use haybarn::{AllocFlags, RawCache, slow_paths};
use std::ops::Range;
use std::ptr::NonNull;

/// Slow paths that are told apart.
pub(super) const PATHS: usize = 11;
/// Objects of a cache that a thread's handler may hold.
const LOCKERS: usize = 24;
/// Allocations and frees of one interrupt.
const STEPS: usize = 6;
/// Violations that a handler can write down until its thread reads them.
const NOTES: usize = 8;

const EMPTY: u64 = 0;
const FULL: u64 = 1;
/// The thread's own for a moment.
const TAKEN: u64 = 2;

/// An object that waits for the handler or for its thread.
#[derive(Default)]
struct Locker {
    state: AtomicCell<u64>,
    address: AtomicCell<usize>,
    tag: AtomicCell<u64>,
}

/// A violation in numbers: a handler has no words.
#[derive(Default)]
struct Note {
    kind: AtomicCell<Option<Kind>>,
    cache: AtomicCell<usize>,
    address: AtomicCell<usize>,
    expected: AtomicCell<u64>,
    seen: AtomicCell<u64>,
}

/// What one thread's handler has and counts.
pub(super) struct Guest<'w> {
    /// The run's caches, and how a handler uses them.
    caches: Vec<(&'w Watched, &'w dyn Handlers)>,
    claims: &'w Claims,
    thread: u32,
    paths: [Range<usize>; PATHS],
    lockers: Vec<[Locker; LOCKERS]>,
    notes: [Note; NOTES],
    noted: AtomicCell<usize>,
    random: AtomicCell<u64>,
    numbered: AtomicCell<u64>,
    /// Interrupts; allocations and frees; allocations that gave nothing.
    pub ticks: AtomicCell<u64>,
    pub ops: AtomicCell<u64>,
    pub nothing: AtomicCell<u64>,
    /// Interrupts inside each slow path.
    pub inside: [AtomicCell<u64>; PATHS],
}

impl<'w> Guest<'w> {
    /// A guest of thread `worker`; none where a cache cannot be used in handlers.
    pub fn new<'r: 'w>(worker: &mut Worker<'r>, caches: &'w [Watched]) -> Option<Self> {
        let caches: Option<Vec<_>> =
            caches.iter().map(|watched| Some((watched, watched.subject.handlers()?))).collect();
        let caches = caches?;
        let lockers = caches.iter().map(|_| std::array::from_fn(|_| Locker::default())).collect();
        Some(Self {
            caches,
            claims: worker.claims,
            thread: worker.index,
            paths: slow_paths().map(|(_, text)| text),
            lockers,
            notes: std::array::from_fn(|_| Note::default()),
            noted: AtomicCell::new(0),
            random: AtomicCell::new(worker.rng.next() | 1),
            numbered: AtomicCell::new(0),
            ticks: AtomicCell::new(0),
            ops: AtomicCell::new(0),
            nothing: AtomicCell::new(0),
            inside: std::array::from_fn(|_| AtomicCell::new(0)),
        })
    }

    fn below(&self, end: usize) -> usize {
        // xorshift64: the worker's own numbers are not the handler's to draw.
        let mut x = self.random.load();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.store(x);
        (x % end as u64) as usize
    }

    /// In the handler: notes a violation, and stops using the allocator.
    fn note(&self, kind: Kind, cache: usize, address: usize, expected: u64, seen: u64) {
        let n = self.noted.load();
        if let Some(note) = self.notes.get(n) {
            note.cache.store(cache);
            note.address.store(address);
            note.expected.store(expected);
            note.seen.store(seen);
            note.kind.store(Some(kind));
            self.noted.store(n + 1);
        }
    }

    fn fill(&self, cache: usize, locker: &Locker) {
        let (watched, handlers) = self.caches[cache];
        let Some(object) = handlers.alloc() else {
            self.nothing.fetch_add(1);
            return;
        };
        let (address, size) = (object.as_ptr() as usize, watched.size());
        if !self.claims.knows(address, size) {
            // Writing down who holds it would allocate. The thread's own objects will see to that soon.
            // SAFETY: just allocated, and given up at once.
            unsafe { handlers.free(object) };
            watched.born(self.thread, 1);
            watched.died(self.thread, 1);
            return;
        }
        watched.born(self.thread, 1);
        if !address.is_multiple_of(watched.subject.align()) {
            return self.note(Kind::Misaligned, cache, address, watched.subject.align() as u64, address as u64);
        }
        if let Err(taken) = self.claims.claim(address, size) {
            let kind = if taken.an_object_begins_here { Kind::HandedOutTwice } else { Kind::Overlap };
            return self.note(kind, cache, address, 0, taken.first as u64);
        }
        let number = self.numbered.fetch_add(1) + 1;
        // Half of the numbers are the handler's, so that a stamp says where its holder was.
        let tag = Tag::new(self.thread, number | 1 << 47);
        // SAFETY: an object of this size, ours since the claim.
        unsafe { stamp::write(object, size, tag) };
        locker.address.store(address);
        locker.tag.store(tag.word0());
        locker.state.store(FULL);
    }

    fn empty(&self, cache: usize, locker: &Locker) {
        let (watched, handlers) = self.caches[cache];
        let (address, size) = (locker.address.load(), watched.size());
        let (Some(object), Some(tag)) = (NonNull::new(address as *mut u8), Tag::read(locker.tag.load())) else {
            return;
        };
        locker.state.store(EMPTY);
        // SAFETY: the object is held, so it has the cache's size.
        if let Err(wrong) = unsafe { stamp::verify(object, size, tag) } {
            return self.note(Kind::Contents, cache, address, wrong.expected, wrong.seen);
        }
        if let Err(first) = self.claims.release(address, size) {
            return self.note(Kind::NotHeld, cache, address, tag.word0(), first as u64);
        }
        watched.died(self.thread, 1);
        // SAFETY: it came from this cache, and the locker was its only holder.
        unsafe { handlers.free(object) };
    }

    /// On the thread, outside of its handler: tells the run what the handler saw.
    pub fn report(&self, worker: &Worker<'_>) {
        for note in self.notes.iter().take(self.noted.load()) {
            if let Some(kind) = note.kind.take() {
                let watched = self.caches[note.cache.load()].0;
                let (expected, seen) = (note.expected.load(), note.seen.load());
                let expected = format!("in a signal handler: {expected:#018x}");
                worker.report(kind, watched, note.address.load(), expected, format!("{seen:#018x}"));
            }
        }
    }

    /// On the thread: an object that the handler allocated, to be freed the ordinary way.
    pub fn take(&self, cache: usize) -> Option<Held> {
        let locker = self.lockers[cache].iter().find(|locker| locker.state.compare_exchange(FULL, TAKEN).is_ok())?;
        let object = NonNull::new(locker.address.load() as *mut u8);
        let tag = Tag::read(locker.tag.load());
        locker.state.store(EMPTY);
        // SAFETY: the locker was its only holder and is empty now.
        Some(unsafe { Held::new(object?, tag?, self.caches[cache].0.id()) })
    }

    /// On the thread: an object for the handler to free; back again if there is no room.
    pub fn give(&self, cache: usize, held: Held) -> Result<(), Held> {
        assert_eq!(held.cache(), self.caches[cache].0.id(), "a scenario mixed up its caches");
        let empty = |locker: &&Locker| locker.state.compare_exchange(EMPTY, TAKEN).is_ok();
        let Some(locker) = self.lockers[cache].iter().find(empty) else { return Err(held) };
        locker.address.store(held.object().as_ptr() as usize);
        locker.tag.store(held.tag().word0());
        locker.state.store(FULL);
        Ok(())
    }
}

impl Handlers for RawCache {
    fn alloc(&self) -> Option<NonNull<u8>> {
        self.alloc_nolock(AllocFlags::empty())
    }

    unsafe fn free(&self, object: NonNull<u8>) {
        // SAFETY: the caller's promise is the callee's condition.
        unsafe { self.free_nolock(object) }
    }
}

impl Interrupt for Guest<'_> {
    fn interrupted(&self, at: usize) {
        self.ticks.fetch_add(1);
        if let Some(path) = self.paths.iter().position(|text| text.contains(&at)) {
            self.inside[path].fetch_add(1);
        }
        for _ in 0..STEPS {
            if self.noted.load() > 0 {
                return;
            }
            let cache = self.below(self.caches.len());
            let locker = &self.lockers[cache][self.below(LOCKERS)];
            match locker.state.load() {
                EMPTY => self.fill(cache, locker),
                FULL => self.empty(cache, locker),
                // The thread was interrupted while it had this one.
                _ => continue,
            }
            self.ops.fetch_add(1);
        }
    }
}
