//! Which constructors and destructors run on this thread, and what has to wait for their end.
//!
//! Frames lie on the stack of who calls the callbacks. The outermost one keeps the frees that were queued; they are done when
//! its callback is over, still under that frame, so that what they lead to queues there in its turn and nothing recurses.

use super::header::Cache;
use crate::error::Error;
use crate::stats::Stat;
use core::cell::{Cell, RefCell};
use core::ptr::{NonNull, null};

/// What runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Callback {
    Constructor,
    Destructor,
    /// None any more: the outermost frame does what was queued.
    Over,
}

/// Gives an object back.
type Free = fn(&Cache, NonNull<u8>);

struct Queued {
    cache: *const Cache,
    object: NonNull<u8>,
    free: Free,
}

struct Frame {
    cache: *const Cache,
    callback: Cell<Callback>,
    outer: *const Self,
    /// Of the outermost frame only.
    queue: RefCell<Vec<Queued>>,
}

impl Frame {
    /// In a constructor frees of the same cache wait, in a destructor all.
    fn makes_wait(&self, cache: &Cache) -> bool {
        match self.callback.get() {
            Callback::Constructor => core::ptr::eq(self.cache, cache),
            Callback::Destructor => true,
            Callback::Over => false,
        }
    }

    fn is_of(&self, cache: &Cache) -> bool {
        core::ptr::eq(self.cache, cache)
    }

    fn reentry(&self, cache: &Cache, what: &'static str) -> Error {
        // SAFETY: a cache does not end while its callbacks run.
        let outer = unsafe { &*self.cache };
        Error::Reentry { outer: outer.name().to_owned(), inner: cache.name().to_owned(), what }
    }
}

thread_local! {
    /// The innermost frame. Plain, so that it is there as long as the thread is.
    static TOP: Cell<*const Frame> = const { Cell::new(null()) };
}

/// Frames from the innermost outwards. For use at once: they live as long as the calls that they stand for.
fn frames() -> impl Iterator<Item = &'static Frame> {
    let mut next = TOP.get();
    std::iter::from_fn(move || {
        // SAFETY: a frame lies on this thread's stack as long as it is in the list.
        let frame = unsafe { next.as_ref() }?;
        next = frame.outer;
        Some(frame)
    })
}

/// Takes its frame off the list, whatever happens.
struct Entered(*const Frame);

impl Drop for Entered {
    fn drop(&mut self) {
        TOP.set(self.0);
    }
}

/// Runs `body`, which calls one kind of a cache's callbacks and does not unwind; then, if nobody further out does, what it
/// queued.
pub(super) fn within<R>(cache: &Cache, callback: Callback, body: impl FnOnce() -> R) -> R {
    let outer = TOP.get();
    let frame = Frame { cache, callback: Cell::new(callback), outer, queue: RefCell::default() };
    let _entered = Entered(outer);
    TOP.set(&raw const frame);
    let result = body();
    if outer.is_null() {
        frame.callback.set(Callback::Over);
        // One object at a time: its free may destruct others, which may queue more.
        loop {
            let queued = frame.queue.borrow_mut().pop();
            let Some(Queued { cache, object, free }) = queued else { break };
            // SAFETY: a cache does not end while one of its objects is queued.
            free(unsafe { &*cache }, object);
        }
    }
    result
}

/// Whether a callback of this cache runs on this thread.
pub(super) fn runs(cache: &Cache) -> bool {
    frames().any(|frame| frame.is_of(cache) && frame.callback.get() != Callback::Over)
}

/// Whether objects of this cache that are given back now have to wait.
pub(super) fn wait(cache: &Cache) -> bool {
    frames().any(|frame| frame.makes_wait(cache))
}

/// Keeps an object that is given back from inside a callback, if it must wait; `free` is what will be done.
#[inline]
pub(super) fn queue_free(cache: &Cache, object: NonNull<u8>, free: Free) -> bool {
    any_runs() && queue_inside(cache, object, free)
}

#[cold]
#[inline(never)]
fn queue_inside(cache: &Cache, object: NonNull<u8>, free: Free) -> bool {
    let Some(root) = wait(cache).then(|| frames().last()).flatten() else { return false };
    cache.bump(cache.backend.cpu(), Stat::FreeQueued, 1);
    root.queue.borrow_mut().push(Queued { cache, object, free });
    true
}

/// What this thread has queued of a cache that is about to end.
pub(super) fn take_queued(cache: &Cache) -> Vec<NonNull<u8>> {
    let Some(root) = frames().last() else { return Vec::new() };
    let mut queue = root.queue.borrow_mut();
    queue.extract_if(.., |queued| core::ptr::eq(queued.cache, cache)).map(|queued| queued.object).collect()
}

/// Whether any callback runs on this thread, or what one queued is being done.
#[inline]
pub(super) fn any_runs() -> bool {
    !TOP.get().is_null()
}

/// Refuses what could lead back into a callback of this thread: an allocation from the same cache in a constructor, from any
/// in a destructor.
#[inline]
pub(super) fn check_alloc(cache: &Cache) -> Result<(), Error> {
    if any_runs() { check_inside(cache) } else { Ok(()) }
}

#[cold]
#[inline(never)]
fn check_inside(cache: &Cache) -> Result<(), Error> {
    for frame in frames() {
        let what = match frame.callback.get() {
            Callback::Constructor if frame.is_of(cache) => "an allocation inside the constructor",
            Callback::Destructor => "an allocation inside the destructor",
            _ => continue,
        };
        cache.bump(cache.backend.cpu(), Stat::ReentryRefused, 1);
        return Err(frame.reentry(cache, what));
    }
    Ok(())
}

/// Refuses the end of a cache from inside its own callbacks.
pub(super) fn check_destroy(cache: &Cache) -> Result<(), Error> {
    let inside = frames().find(|frame| frame.is_of(cache));
    inside.map_or(Ok(()), |frame| Err(frame.reentry(cache, "its end inside the constructor or destructor")))
}
