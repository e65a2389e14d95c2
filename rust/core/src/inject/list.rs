#![forbid(unsafe_code)]
//! All faults: a list of entries that only grows, read without a lock.

use super::attr::{FaultAttr, from_environment};
use super::entry::{Entry, Target};
use crate::error::Error;
use crate::sync::{Counter, Published};
use std::sync::OnceLock;

static FIRST: OnceLock<Box<Entry>> = OnceLock::new();

/// Faults about memory that are on: what a request looks at before anything else.
static ON_MEMORY: Counter = Counter::new();

fn entries() -> impl Iterator<Item = &'static Entry> {
    std::iter::successors(FIRST.get(), |entry| entry.next.get()).map(|entry| &**entry)
}

/// An idle entry, taken; a new one where all are in use.
fn take_entry() -> &'static Entry {
    if let Some(entry) = entries().find(|entry| entry.claim()) {
        return entry;
    }
    let mut place = &FIRST;
    loop {
        let entry = place.get_or_init(|| Box::new(Entry::new()));
        if entry.claim() {
            return entry;
        }
        place = &entry.next;
    }
}

/// A fault that is on; dropping the guard ends it. Several may be on at once, each with counts of its own: a request fails if
/// any of them says so.
///
/// May be moved to and dropped by any thread. In a forked child the fault is on as well, until the child's copy of the guard is
/// dropped; one that belongs to a thread which is not in the child stays on there.
#[derive(Debug)]
pub struct FaultGuard {
    entry: Option<&'static Entry>,
    target: Target,
    /// What is to be done when the fault has ended.
    after: fn(),
}

impl FaultGuard {
    /// Requests that the fault has made fail so far.
    #[must_use]
    pub fn fired(&self) -> u64 {
        self.entry.map_or(0, Entry::fired)
    }

    /// Ends the fault and says how many requests it has made fail.
    pub fn end(mut self) -> u64 {
        self.finish()
    }

    fn finish(&mut self) -> u64 {
        let Some(entry) = self.entry.take() else { return 0 };
        if self.target == Target::Memory {
            ON_MEMORY.sub(1);
        }
        let fired = entry.end();
        (self.after)();
        fired
    }
}

impl Drop for FaultGuard {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Starts a fault; `after` runs when it has ended.
///
/// # Errors
/// [`Error::BadArgument`] for a parameter out of range.
pub(crate) fn begin(target: Target, attr: &FaultAttr, after: fn()) -> Result<FaultGuard, Error> {
    static NUMBER: Published = Published::new(0);
    attr.check()?;
    let entry = take_entry();
    entry.start(target, attr, NUMBER.take(1));
    if target == Target::Memory {
        ON_MEMORY.add(1);
    }
    Ok(FaultGuard { entry: Some(entry), target, after })
}

/// Makes requests for memory fail: for pages, for metadata, and for the wrappers of bindings. Objects that lie free in sheaves
/// and slabs are still handed out. Ends when the guard is dropped.
///
/// # Errors
/// [`Error::BadArgument`] for a parameter out of range.
pub fn fail_page_alloc(attr: FaultAttr) -> Result<FaultGuard, Error> {
    begin(Target::Memory, &attr, || {})
}

/// Starts what `HAYBARN_FAIL_PAGE_ALLOC` and `HAYBARN_FAIL_SLAB` (for all caches) ask for, once in a process, before it has a
/// cache. They never end.
///
/// # Errors
/// [`Error::BadArgument`] for a malformed variable, the same at every call.
pub(crate) fn start_from_environment() -> Result<(), Error> {
    static STARTED: OnceLock<Result<(), Error>> = OnceLock::new();
    let start = || {
        let memory = from_environment("HAYBARN_FAIL_PAGE_ALLOC")?.map(|attr| (Target::Memory, attr));
        let objects = from_environment("HAYBARN_FAIL_SLAB")?.map(|attr| (Target::Objects, attr));
        for (target, attr) in memory.into_iter().chain(objects) {
            core::mem::forget(begin(target, &attr, || {})?);
        }
        Ok(())
    };
    STARTED.get_or_init(start).clone()
}

/// Whether any fault about memory is on.
#[inline]
pub(super) fn any_on_memory() -> bool {
    ON_MEMORY.get() != 0
}

/// Each fault counts for itself, so each is asked.
fn all_pass(slots: Option<usize>, bytes: usize) -> bool {
    entries().filter(|entry| entry.fails(slots, bytes)).count() == 0
}

#[cold]
pub(super) fn memory(bytes: usize) -> bool {
    all_pass(None, bytes)
}

/// Asks for `bytes` bytes of objects of the cache at `slots`; `false`: the allocation shall fail.
#[cold]
pub(crate) fn object(slots: usize, bytes: usize) -> bool {
    all_pass(Some(slots), bytes)
}

/// Whether a fault is on that is asked for objects of the cache at `slots`.
pub(crate) fn objects_fail(slots: usize) -> bool {
    entries().any(|entry| entry.concerns(Some(slots)))
}

/// Whether a fault is on about objects of the cache at `slots` alone.
pub(crate) fn is_singled_out(slots: usize) -> bool {
    let alone = |entry: &Entry| entry.on().is_some_and(|(target, ..)| target == Target::ObjectsOf(slots));
    entries().any(alone)
}

/// The cache at `slots` has gone: faults of its own are about nothing from now on.
pub(crate) fn forget(slots: usize) {
    entries().for_each(|entry| entry.forget(slots));
}

/// The faults that are on: what each is about, its parameters with what is left of them, and how often it has fired.
pub(crate) fn on() -> Vec<(Target, FaultAttr, u64)> {
    entries().filter_map(Entry::on).collect()
}

/// Entries that were ever made.
#[cfg(all(test, not(any(loom, shuttle))))]
pub(super) fn made() -> usize {
    entries().count()
}
