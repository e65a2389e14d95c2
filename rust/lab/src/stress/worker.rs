//! One thread of a run: allocates and frees under the oracle's eyes.

use super::field::Field;
use super::held::Held;
use super::injector::Injector;
use super::live::Live;
use super::pace::Pace;
use super::rng::Rng;
use crate::oracle::subject::Constructed;
use crate::oracle::{Claims, Counters, Kind, Ledger, Tag, Violation, Watched, conservation, stamp};
use std::ptr::{self, NonNull};

/// One thread's view of a run.
pub struct Worker<'a> {
    /// The thread's number in the run, from 0.
    pub index: u32,
    /// The thread's random numbers.
    pub rng: Rng,
    pub(super) field: &'a dyn Field,
    pub(super) claims: &'a Claims,
    pub(super) ledger: &'a Ledger,
    pub(super) pace: Pace<'a>,
    pub(super) injector: Option<&'a Injector>,
    pub(super) scenario: &'static str,
    pub(super) numbered: u64,
    pub(super) batch: Vec<*mut u8>,
}

impl Worker<'_> {
    /// One object in so many is asked for as zeroed, and one in so many is shown to the allocator's own check.
    pub(super) const SAMPLE: usize = 16;

    /// Whether the thread shall do another step; to be asked before each.
    #[inline]
    pub fn go_on(&mut self) -> bool {
        !self.ledger.full() && self.pace.go_on()
    }

    /// Whether no violation has been seen, so that objects may go back to the allocator.
    #[must_use]
    pub fn clean(&self) -> bool {
        self.ledger.count() == 0
    }

    /// Moves the thread to another CPU.
    pub fn hop(&mut self) {
        self.field.hop(&mut self.rng);
    }

    /// Writes a violation down.
    pub fn report(&self, kind: Kind, watched: &Watched, address: usize, expected: String, seen: String) {
        self.report_about(kind, watched.subject.name(), address, expected, seen);
    }

    /// Writes a violation down that is about a cache that is not there.
    pub fn report_about(&self, kind: Kind, cache: &str, address: usize, expected: String, seen: String) {
        let (thread, cache) = (Some(self.index), cache.to_owned());
        self.ledger.report(Violation { kind, scenario: self.scenario, thread, cache, address, expected, seen });
    }

    /// Checks a cache that only this thread knows and that should be empty, and ends it.
    pub fn close(&self, watched: Watched) -> Counters {
        conservation::close(watched, self.scenario, self.ledger)
    }

    /// Counts operations that a scenario did itself.
    pub fn count(&mut self, n: u64) {
        self.pace.count(n);
    }

    /// Allocates an object and checks all that can be checked now; none after a violation.
    pub fn alloc(&mut self, watched: &Watched) -> Option<Held> {
        // Zeroes would wipe what a constructor made.
        let zero = self.rng.one_in(Self::SAMPLE) && watched.subject.constructed().is_none();
        self.pace.count(1);
        let Some(object) = watched.subject.alloc(zero) else {
            if Self::failed_as_planned(watched) {
                return None;
            }
            self.refused_by(watched, || "an object".into());
            return None;
        };
        watched.born(self.index, 1);
        self.take(watched, object, zero)
    }

    /// Compares an object's contents with its stamp and frees it.
    ///
    /// # Panics
    /// When the object came from another cache, as for all methods that take a held object.
    pub fn free(&mut self, watched: &Watched, held: Held) {
        self.pace.count(1);
        watched.died(self.index, 1);
        self.part(watched, &held);
        // SAFETY: the object came from this cache and `held`, its only handle, ends here.
        unsafe { watched.subject.free(held.object()) };
    }

    /// Allocates `n` objects at once and puts them behind those in `live`.
    pub fn alloc_bulk(&mut self, watched: &Watched, n: usize, live: &mut Live) {
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        batch.resize(n, ptr::null_mut());
        if watched.subject.alloc_bulk(&mut batch) {
            self.pace.count(n as u64);
            watched.born(self.index, n as u64);
            for object in &batch {
                match NonNull::new(*object) {
                    Some(object) => live.extend(self.take(watched, object, false)),
                    None => self.report(Kind::Refused, watched, 0, format!("{n} objects"), "a null among them".into()),
                }
            }
        } else {
            self.pace.count(1);
            if !Self::failed_as_planned(watched) {
                self.refused_by(watched, || format!("{n} objects"));
            }
        }
        self.batch = batch;
    }

    fn failed_as_planned(watched: &Watched) -> bool {
        watched.subject.constructed().is_some_and(Constructed::failed)
    }

    /// Whether memory may be out now without anybody's fault: failures are injected.
    #[must_use]
    pub fn expects_refusals(&self) -> bool {
        self.injector.is_some()
    }

    /// The allocator refused something for want of memory while [`Worker::expects_refusals`]: counted, and compared with what
    /// was injected at the end of the run.
    pub fn refused(&self) {
        if let Some(injector) = self.injector {
            injector.refused();
        }
    }

    /// The cache refused what it was asked for, for want of memory: a violation unless failures are injected.
    pub fn refused_by(&self, watched: &Watched, expected: impl FnOnce() -> String) {
        if self.expects_refusals() {
            self.refused();
        } else {
            self.report(Kind::Refused, watched, 0, expected(), "none".into());
        }
    }

    /// Frees the objects at once.
    pub fn free_bulk(&mut self, watched: &Watched, held: impl Iterator<Item = Held>) {
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        for held in held {
            self.part(watched, &held);
            batch.push(held.object().as_ptr());
        }
        self.pace.count(batch.len() as u64);
        watched.died(self.index, batch.len() as u64);
        // SAFETY: as in `free`, for each object.
        unsafe { watched.subject.free_bulk(&mut batch) };
        self.batch = batch;
    }

    /// Allocates `n` objects, one by one or at once, and frees them in any order. They are stamped and compared, but not claimed:
    /// most of the time is the allocator's.
    pub fn churn(&mut self, watched: &Watched, n: usize, at_once: bool) {
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        if at_once {
            batch.resize(n, ptr::null_mut());
            if !watched.subject.alloc_bulk(&mut batch) {
                batch.clear();
            }
        } else {
            batch.extend((0..n).map_while(|_| watched.subject.alloc(false)).map(NonNull::as_ptr));
        }
        if batch.len() < n {
            self.refused_by(watched, || format!("{n} objects"));
        }
        let got = batch.len() as u64;
        self.pace.count(2 * got);
        watched.born(self.index, got);
        self.numbered += 1;
        let tag = Tag::new(self.index, self.numbered);
        for object in batch.iter().filter_map(|&object| NonNull::new(object)) {
            // SAFETY: objects of this size, just allocated.
            unsafe { stamp::write(object, watched.size(), tag) };
        }
        let mut wrong = None;
        for object in batch.iter().filter_map(|&object| NonNull::new(object)) {
            // SAFETY: as above.
            let verdict = unsafe { stamp::verify(object, watched.size(), tag) };
            wrong = wrong.or(verdict.err().map(|mismatch| (object, mismatch)));
        }
        if let Some((object, wrong)) = wrong {
            let (address, seen) = (object.as_ptr() as usize, format!("{:#018x}", wrong.seen));
            self.report(Kind::Contents, watched, address, format!("{tag}"), seen);
            return;
        }
        watched.died(self.index, got);
        if at_once {
            // SAFETY: ours, each once.
            unsafe { watched.subject.free_bulk(&mut batch) };
        }
        while !at_once && !batch.is_empty() {
            let any = batch.swap_remove(self.rng.below(batch.len()));
            if let Some(object) = NonNull::new(any) {
                // SAFETY: as above.
                unsafe { watched.subject.free(object) };
            }
        }
        self.batch = batch;
    }

    /// Frees all, or leaves all to themselves once a violation was seen: a corrupted allocator may crash on them.
    pub fn free_all(&mut self, watched: &Watched, live: &mut Live) {
        while self.clean()
            && let Some(held) = live.pop()
        {
            self.free(watched, held);
        }
        live.forget();
    }

    /// Compares a held object's contents with its stamp; says whether they are right.
    pub fn inspect(&self, watched: &Watched, held: &Held) -> bool {
        assert_eq!(held.cache(), watched.id(), "a scenario mixed up its caches");
        // SAFETY: the object is held, so it has the cache's size; that somebody else may write there is what is looked for.
        let verdict = unsafe { stamp::verify(held.object(), watched.size(), held.tag()) };
        if let Err(wrong) = verdict {
            let address = held.object().as_ptr() as usize;
            let (offset, expected) = (wrong.offset, format!("{}", held.tag()));
            let seen = match Tag::read(wrong.seen) {
                Some(other) if offset == 0 => format!("{other}"),
                _ => format!("{:#018x} for {:#018x} at offset {offset}", wrong.seen, wrong.expected),
            };
            self.report(Kind::Contents, watched, address, expected, seen);
        }
        verdict.is_ok()
    }

    /// Compares what a constructor left in an object that the thread holds.
    fn inspect_state(&self, watched: &Watched, object: NonNull<u8>) {
        let Some(constructed) = watched.subject.constructed() else { return };
        // SAFETY: the object is this cache's, and ours since the claim.
        if let Err(seen) = unsafe { constructed.inspect(object) } {
            let address = object.as_ptr() as usize;
            self.report(Kind::Contents, watched, address, "its constructed state".into(), seen);
        }
    }

    /// Takes a fresh object over: checks it, claims its bytes, stamps it.
    pub(super) fn take(&mut self, watched: &Watched, object: NonNull<u8>, zero: bool) -> Option<Held> {
        let (address, size) = (object.as_ptr() as usize, watched.size());
        let align = watched.subject.align();
        if !address.is_multiple_of(align) {
            self.report(Kind::Misaligned, watched, address, format!("a multiple of {align}"), format!("{address:#x}"));
            return None;
        }
        if let Err(taken) = self.claims.claim(address, size) {
            // SAFETY: bytes that an allocator handed out as an object of this size.
            let holder = unsafe { stamp::holder(object, size) };
            let kind = if taken.an_object_begins_here { Kind::HandedOutTwice } else { Kind::Overlap };
            let seen = match holder {
                Some(tag) => format!("{tag}"),
                None => format!("bytes from {:#x} held by somebody", taken.first),
            };
            self.report(kind, watched, address, format!("{size} bytes that nobody holds"), seen);
            return None;
        }
        if self.numbered.is_multiple_of(Self::SAMPLE as u64)
            && let Err(why) = watched.subject.check(object)
        {
            self.report(Kind::OffTheGrid, watched, address, "an object of the cache".into(), why);
        }
        if zero {
            // SAFETY: an object of this size, ours since the claim.
            if let Some((offset, byte)) = unsafe { stamp::first_nonzero(object, size) } {
                self.report(
                    Kind::NotZeroed,
                    watched,
                    address,
                    "zeroes".into(),
                    format!("{byte:#04x} at offset {offset}"),
                );
            }
        }
        self.inspect_state(watched, object);
        self.numbered += 1;
        let tag = Tag::new(self.index, self.numbered);
        // SAFETY: an object of this size, ours since the claim.
        unsafe { stamp::write(object, size, tag) };
        // SAFETY: the object is the caller's alone from here on: the allocator handed it out, and nobody else holds its bytes.
        Some(unsafe { Held::new(object, tag, watched.id()) })
    }

    /// Takes an object back that the allocator would not have.
    pub(super) fn part_not(&self, watched: &Watched, held: &Held) {
        let address = held.object().as_ptr() as usize;
        if self.claims.claim(address, watched.size()).is_err() {
            self.report(Kind::HandedOutTwice, watched, address, "a refused object to stay ours".into(), "not".into());
        }
    }

    /// Lets go of an object that is about to be freed.
    pub(super) fn part(&mut self, watched: &Watched, held: &Held) {
        self.inspect(watched, held);
        self.inspect_state(watched, held.object());
        let address = held.object().as_ptr() as usize;
        if let Err(first) = self.claims.release(address, watched.size()) {
            self.report(
                Kind::NotHeld,
                watched,
                address,
                format!("{} to hold it", held.tag()),
                format!("nobody at {first:#x}"),
            );
        }
    }
}
