//! kmalloc: memory of every size, resized in place and by moving, given back one at a time, in mixed bulk and by other threads,
//! compared with a model of what it must be.

use super::block::{Block, CLASSES, LARGEST_CLASS, LARGEST_RUN, PAGE, alignment, rounded};
use super::heap::{Heap, Source, Way};
use super::needs::Needs;
use super::scenario::{Scenario, Setup, Work};
use super::worker::Worker;
use crate::oracle::subject::Counter::{
    self, BarnGet, Elsewhere, Flush, Huge, Large, Moved, NewSlab, Refill, Stayed, ZeroSize,
};
use crate::oracle::{Counters, Kind, Tag, Watched, stamp};
use crossbeam_queue::ArrayQueue;
use crossbeam_utils::atomic::AtomicCell;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub const SCENARIO: Scenario = Scenario {
    name: "kmalloc",
    about: "memory of 0 bytes to 8 MiB, resized and given back by other threads, against a model",
    needs: Needs::everywhere(&[Refill, BarnGet, Flush, NewSlab, ZeroSize, Large, Huge, Stayed, Moved], &[])
        .among_threads(&[Elsewhere]),
    prepare: |setup: &Setup<'_>| {
        let heap = setup.field.heap("kmalloc").map_err(|why| why.to_string())?;
        let heap = Mutex::new(Some(Arc::new(heap)));
        let (post, counts, ended) = (ArrayQueue::new(DEPTH), Default::default(), Mutex::default());
        Ok(Box::new(Kmalloc { heap, post, counts, ended }))
    },
};

/// Blocks on their way to another thread, at most.
const DEPTH: usize = 512;
/// Blocks that a thread keeps, at most; of them larger than a class: few, for they are many pages.
const MOST: usize = 600;
const MOST_LARGE: usize = 4;
/// Objects of the largest class: more than sheaves and barn keep.
const CROWD: usize = 80;

const COUNTED: [Counter; 6] = [ZeroSize, Large, Huge, Stayed, Moved, Elsewhere];

struct Kmalloc {
    /// Until the end.
    heap: Mutex<Option<Arc<Box<dyn Heap>>>>,
    post: ArrayQueue<Block>,
    counts: [AtomicCell<u64>; COUNTED.len()],
    ended: Mutex<Counters>,
}

impl Work for Kmalloc {
    fn work(&self, worker: &mut Worker<'_>) {
        let heap = self.heap.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(heap) = heap else { return };
        let mut hand = Hand { kmalloc: self, heap: &**heap, worker, live: Vec::new() };
        // What chance brings about now and then comes once for sure, however short the run is.
        hand.crowd();
        if hand.worker.index == 0 {
            hand.take(Source::Fallback, LARGEST_RUN + 1);
        }
        while hand.worker.go_on() {
            if hand.worker.rng.one_in(1024) {
                hand.crowd();
            }
            match hand.worker.rng.below(16) {
                0..6 => hand.take_some(),
                6..9 => hand.resize_some(),
                9 => hand.nothing(),
                10 => hand.give_many(),
                11 | 12 => hand.pass_on(),
                _ => hand.give_some(),
            }
            if hand.worker.rng.one_in(64) {
                hand.worker.hop();
            }
        }
        // The first half is for those who are still at work.
        let left = hand.live.len();
        while hand.worker.clean()
            && let Some(block) = hand.live.pop()
        {
            let passed = if hand.live.len() * 2 < left { self.post.push(block) } else { Err(block) };
            if let Err(block) = passed {
                hand.give(block);
            }
        }
    }

    fn settle(&self, worker: &mut Worker<'_>) {
        let Some(heap) = self.heap.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let mut hand = Hand { kmalloc: self, heap: &**heap, worker, live: Vec::new() };
        while let Some(block) = self.post.pop() {
            hand.give(block);
        }
        if !worker.clean() {
            return;
        }
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = heap.counters();
        // Other threads may still park slots for an injected fault; what stays wrong for a fifth of a second is wrong.
        for _ in 0..200 {
            if heap.live() == 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if heap.live() != 0 {
            let seen = format!("the allocator counts {}", heap.live());
            return worker.report_about(Kind::Conservation, "kmalloc", 0, "no live object at the end".into(), seen);
        }
        let closed = Arc::into_inner(heap).map_or_else(|| Err("somebody holds it".into()), Heap::close);
        if let Err(why) = closed {
            worker.report_about(
                Kind::Invalid,
                "kmalloc",
                0,
                "size classes in order, and an end of the set".into(),
                why,
            );
        }
    }

    fn into_caches(self: Box<Self>) -> Vec<Watched> {
        Vec::new()
    }

    fn ended(&self) -> Counters {
        let mut sum = *self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        sum.add(&Counters::read(|counter| self.count(counter).map_or(0, AtomicCell::load)));
        sum
    }
}

impl Kmalloc {
    fn count(&self, counter: Counter) -> Option<&AtomicCell<u64>> {
        COUNTED.iter().position(|&own| own == counter).map(|at| &self.counts[at])
    }

    fn tally(&self, counter: Counter) {
        self.count(counter).expect("a counter of this scenario").fetch_add(1);
    }

    fn tally_size(&self, size: usize) {
        match size {
            0 => self.tally(ZeroSize),
            1..=LARGEST_CLASS => {}
            _ if size <= LARGEST_RUN => self.tally(Large),
            _ => self.tally(Huge),
        }
    }
}

/// A thread at work.
pub(super) struct Hand<'w, 'r> {
    kmalloc: &'w Kmalloc,
    pub(super) heap: &'w dyn Heap,
    pub(super) worker: &'w mut Worker<'r>,
    pub(super) live: Vec<Block>,
}

impl Hand<'_, '_> {
    pub(super) fn tally(&self, counter: Counter) {
        self.kmalloc.tally(counter);
    }

    pub(super) fn wrong(&self, kind: Kind, address: usize, expected: String, seen: String) {
        self.worker.report_about(kind, "kmalloc", address, expected, seen);
    }

    pub(super) fn size(&mut self, most: usize) -> usize {
        let rng = &mut self.worker.rng;
        let is_large = |block: &&Block| block.usable > LARGEST_CLASS;
        let large = rng.one_in(128) && self.live.iter().filter(is_large).count() < MOST_LARGE;
        match (large, rng.below(16)) {
            (true, 0) if most > LARGEST_RUN => rng.between(LARGEST_RUN + 1, most),
            (true, 1) => rng.between(LARGEST_CLASS + 1, LARGEST_RUN.min(most)),
            (true, _) => rng.between(LARGEST_CLASS + 1, 128 << 10),
            // Sizes at the edges of the classes.
            (false, 0..4) => (CLASSES[rng.below(CLASSES.len())] + rng.below(3)).saturating_sub(1).min(LARGEST_CLASS),
            (false, 4) => rng.between(1, LARGEST_CLASS),
            (false, _) => rng.between(1, 300),
        }
    }

    fn take_some(&mut self) {
        for _ in 0..self.worker.rng.between(1, 40) {
            if self.live.len() >= MOST || !self.worker.clean() {
                break;
            }
            let source = match self.worker.rng.below(4) {
                0 => Source::Buckets,
                1 => Source::Fallback,
                _ => Source::Classes,
            };
            let size = self.size(if source == Source::Fallback { 2 * LARGEST_RUN } else { LARGEST_RUN });
            self.take(source, size);
        }
    }

    fn take(&mut self, source: Source, size: usize) {
        let zero = self.worker.rng.one_in(8);
        self.worker.count(1);
        let Some(memory) = self.heap.alloc(source, size, zero) else { return self.refused(size) };
        if let Some(mut block) = self.hold(memory, size, source == Source::Fallback) {
            if zero {
                self.zeroes(&block, 0);
            }
            block.clean = zero;
            self.keep(block);
        }
    }

    /// So many of one class, all given back again, that the frees find sheaves and barn full.
    fn crowd(&mut self) {
        let before = self.live.len();
        for _ in 0..CROWD {
            self.take(Source::Classes, LARGEST_CLASS);
        }
        while self.live.len() > before
            && self.worker.clean()
            && let Some(block) = self.live.pop()
        {
            self.give(block);
        }
    }

    pub(super) fn refused(&self, size: usize) {
        if self.worker.expects_refusals() {
            self.worker.refused();
        } else {
            self.wrong(Kind::Refused, 0, format!("{size} bytes"), "none".into());
        }
    }

    /// Checks memory of `size` bytes against the model and claims all that may be used of it.
    pub(super) fn hold(&self, memory: NonNull<u8>, size: usize, may_fall_back: bool) -> Option<Block> {
        let address = memory.as_ptr() as usize;
        // SAFETY: live memory that nobody has but us.
        let usable = unsafe { self.heap.usable(memory.as_ptr()) };
        let expected = rounded(size);
        let fell_back = may_fall_back && size > PAGE && self.worker.expects_refusals();
        let fits = usable == expected || (fell_back && usable == size.next_multiple_of(PAGE));
        let said = self.heap.roundup(size);
        if !fits || (size <= LARGEST_RUN && said != expected) {
            let seen = format!("{usable} that may be used, {said} said beforehand");
            self.wrong(Kind::OffTheGrid, address, format!("{expected} bytes for {size}"), seen);
            return None;
        }
        let align = alignment(usable);
        if !address.is_multiple_of(align) {
            self.wrong(Kind::Misaligned, address, format!("a multiple of {align}"), format!("{address:#x}"));
            return None;
        }
        if let Err(taken) = self.worker.claims.claim(address, usable) {
            let kind = if taken.an_object_begins_here { Kind::HandedOutTwice } else { Kind::Overlap };
            let seen = format!("bytes from {:#x} held by somebody", taken.first);
            self.wrong(kind, address, format!("{usable} bytes that nobody holds"), seen);
            return None;
        }
        let tag = Tag::new(self.worker.index, self.worker.numbered + 1);
        Some(Block { memory, size, usable, tag, clean: false, by: self.worker.index })
    }

    /// Stamps a block and keeps it.
    pub(super) fn keep(&mut self, mut block: Block) {
        self.worker.numbered += 1;
        block.tag = Tag::new(self.worker.index, self.worker.numbered);
        self.kmalloc.tally_size(block.size);
        // SAFETY: so many bytes there are ours.
        unsafe { stamp::write(block.memory, block.size, block.tag) };
        self.live.push(block);
    }

    /// Whether everything from byte `from` on is zero.
    pub(super) fn zeroes(&self, block: &Block, from: usize) {
        let address = block.memory.as_ptr() as usize;
        // SAFETY: `from` is at most `usable`, and so many bytes are ours.
        let found = unsafe { stamp::first_nonzero(block.memory.add(from), block.usable - from) };
        if let Some((offset, byte)) = found {
            let seen = format!("{byte:#04x} at offset {} of {}", from + offset, block.usable);
            self.wrong(Kind::NotZeroed, address, format!("zeroes from {from} on"), seen);
        }
    }

    /// Whether the first `kept` bytes at `memory` are those of the block.
    pub(super) fn contents(&self, block: &Block, memory: NonNull<u8>, kept: usize) {
        // SAFETY: so many bytes there are ours.
        let verdict =
            unsafe { stamp::verify_copy(memory, kept, block.tag, block.memory.as_ptr() as usize, block.size) };
        if let Err(wrong) = verdict {
            let seen = format!("{:#018x} for {:#018x} at offset {}", wrong.seen, wrong.expected, wrong.offset);
            self.wrong(Kind::Contents, memory.as_ptr() as usize, format!("{}", block.tag), seen);
        }
    }

    /// Looks at a block for the last time and lets go of its bytes.
    pub(super) fn part(&self, block: &Block) {
        self.contents(block, block.memory, block.size);
        if block.clean {
            self.zeroes(block, block.size);
        }
        let address = block.memory.as_ptr() as usize;
        if let Err(first) = self.worker.claims.release(address, block.usable) {
            self.wrong(Kind::NotHeld, address, "all of it to be held".into(), format!("nobody at {first:#x}"));
        }
        if block.by != self.worker.index {
            self.kmalloc.tally(Elsewhere);
        }
    }

    pub(super) fn pick(&mut self) -> Option<Block> {
        if self.live.is_empty() {
            return None;
        }
        let at = self.worker.rng.below(self.live.len());
        Some(self.live.swap_remove(at))
    }

    fn give(&mut self, block: Block) {
        self.part(&block);
        self.worker.count(1);
        let way = match self.worker.rng.below(32) {
            0 => Way::Sensitive,
            1 => Way::Checked,
            2..8 => Way::Fallback,
            _ => Way::Plain,
        };
        // SAFETY: the block was the only handle.
        if let Err(why) = unsafe { self.heap.free(block.memory.as_ptr(), way) } {
            self.wrong(Kind::OffTheGrid, block.memory.as_ptr() as usize, "memory that can be given back".into(), why);
        }
    }

    fn give_some(&mut self) {
        for _ in 0..self.worker.rng.between(1, 40) {
            if !self.worker.clean() {
                break;
            }
            // Of what others have passed on as well.
            let block = if self.worker.rng.one_in(2) { self.kmalloc.post.pop() } else { None };
            let Some(block) = block.or_else(|| self.pick()) else { break };
            self.give(block);
        }
    }

    fn give_many(&mut self) {
        let mut batch = vec![ptr::null_mut()];
        for _ in 0..self.worker.rng.between(1, 60) {
            let Some(block) = self.kmalloc.post.pop().or_else(|| self.pick()) else { break };
            self.part(&block);
            batch.push(block.memory.as_ptr());
        }
        // What a request for nothing got may be among them.
        batch.extend(self.heap.alloc(Source::Classes, 0, false).map(NonNull::as_ptr));
        self.worker.count(batch.len() as u64);
        if self.worker.clean() {
            // SAFETY: the blocks were the only handles.
            unsafe { self.heap.free_bulk(&mut batch) };
        }
    }

    fn pass_on(&mut self) {
        for _ in 0..self.worker.rng.between(1, 40) {
            let Some(block) = self.pick() else { break };
            if let Err(block) = self.kmalloc.post.push(block) {
                self.live.push(block);
                break;
            }
        }
    }

    /// Requests for nothing, and what is given back of it.
    fn nothing(&mut self) {
        self.worker.count(1);
        let Some(none) = self.heap.alloc(Source::Classes, 0, true) else { return self.refused(0) };
        self.kmalloc.tally(ZeroSize);
        // SAFETY: what a request for nothing got has no memory behind it.
        let usable = unsafe { self.heap.usable(none.as_ptr()) };
        if usable != 0 || self.heap.roundup(0) != 0 {
            self.wrong(Kind::OffTheGrid, 0, "0 bytes that may be used".into(), format!("{usable}"));
        }
        // SAFETY: as above; null too is nothing.
        let given =
            unsafe { (self.heap.free(none.as_ptr(), Way::Plain), self.heap.free(ptr::null_mut(), Way::Checked)) };
        if given != (Ok(()), Ok(())) {
            self.wrong(Kind::OffTheGrid, 0, "nothing to be given back".into(), format!("{given:?}"));
        }
    }
}
