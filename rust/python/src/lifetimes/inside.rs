//! What this thread is inside of: long calls of caches with constructors or destructors, those themselves, and waits for the pending
//! frees of any cache. A callback may do anything that Python can, and a garbage collection in it may free anything; from here every
//! call knows whether it must not happen (`ReentryError`), must not wait, or has to be put off.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::sync::Arc;

use haybarn::Error;
use haybarn::sync::Published;
use pyo3::prelude::*;

use crate::errors::{self, Kind};

/// What names a cache wherever it is talked about.
pub(crate) struct Identity {
    pub(crate) serial: u64,
    pub(crate) name: String,
}

/// What a thread is inside of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum In {
    /// A call that has passed the cache's gate and counts in the word at this address.
    Call(usize),
    /// A wait for pending frees of the cache, in which signal handlers run: inside the gate whose word lies at this address, or (0) at no
    /// gate, or at one that counts as a `Call`.
    Wait(usize),
    /// A call that has the cache to itself: it destroys it.
    Alone,
    /// The cache's constructor.
    Ctor,
    /// The cache's destructor.
    Dtor,
}

struct Entry {
    cache: Arc<Identity>,
    what: In,
}

impl Entry {
    /// A call or a callback of this cache. Waits apart: at its gate a waiting thread is like any other.
    fn is_of(&self, cache: &Identity) -> bool {
        self.cache.serial == cache.serial && !matches!(self.what, In::Wait(_))
    }
}

std::thread_local! {
    static STACK: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
}

/// Ends an entry when it is dropped; the last one made goes first.
#[must_use]
pub(crate) struct Inside;

impl Drop for Inside {
    fn drop(&mut self) {
        with(|stack| drop(stack.pop()));
    }
}

/// A callback that runs on this thread.
#[must_use]
pub(crate) struct Running<'c> {
    _inside: Inside,
    /// Callbacks of the cache that run, on all threads.
    running: &'c Published,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.running.take(u64::MAX);
    }
}

/// Looks at the stack; a thread that is ending has left everything.
fn with<R>(look: impl FnOnce(&mut Vec<Entry>) -> R) -> Option<R> {
    STACK.try_with(|stack| look(&mut stack.borrow_mut())).ok()
}

fn any(matches: impl Fn(&Entry) -> bool) -> bool {
    with(|stack| stack.iter().any(matches)).unwrap_or(false)
}

fn push(cache: &Arc<Identity>, what: In) -> Inside {
    with(|stack| stack.push(Entry { cache: Arc::clone(cache), what }));
    Inside
}

/// Enters a call that counts in `word` of the cache's gate.
pub(crate) fn call(cache: &Arc<Identity>, word: &Published) -> Inside {
    push(cache, In::Call(std::ptr::from_ref(word).addr()))
}

/// Enters a wait for pending frees of a cache; `word` is that of its gate, if the caller is inside and not entered by [`call`].
pub(crate) fn wait(serial: u64, name: &str, word: Option<&Published>) -> Inside {
    let word = word.map_or(0, |word| std::ptr::from_ref(word).addr());
    push(&Arc::new(Identity { serial, name: name.to_owned() }), In::Wait(word))
}

/// Enters a call that has the cache to itself.
pub(crate) fn alone(cache: &Arc<Identity>) -> Inside {
    push(cache, In::Alone)
}

/// Enters the cache's constructor; `running` counts the callbacks that run.
pub(crate) fn ctor<'c>(cache: &Arc<Identity>, running: &'c Published) -> Running<'c> {
    callback(cache, In::Ctor, running)
}

/// Enters the cache's destructor.
pub(crate) fn dtor<'c>(cache: &Arc<Identity>, running: &'c Published) -> Running<'c> {
    callback(cache, In::Dtor, running)
}

fn callback<'c>(cache: &Arc<Identity>, what: In, running: &'c Published) -> Running<'c> {
    running.take(1);
    Running { _inside: push(cache, what), running }
}

/// Whether the thread is inside of anything that may call back.
pub(crate) fn anything() -> bool {
    any(|entry| !matches!(entry.what, In::Wait(_)))
}

/// Whether it is inside of a call or a callback of this cache.
pub(crate) fn of(cache: &Identity) -> bool {
    any(|entry| entry.is_of(cache))
}

/// Whether it waits for pending frees of the cache with this number.
pub(crate) fn waits_for(serial: u64) -> bool {
    any(|entry| entry.cache.serial == serial && matches!(entry.what, In::Wait(_)))
}

/// Whether it is inside of a destructor.
pub(crate) fn in_dtor() -> bool {
    any(|entry| entry.what == In::Dtor)
}

/// How many destructors it is inside of.
#[cfg(not(Py_GIL_DISABLED))]
pub(crate) fn dtors() -> usize {
    count(|entry| entry.what == In::Dtor) as usize
}

/// Whether it puts off frees of this cache: in its own callbacks, and in every destructor.
pub(crate) fn puts_off(cache: &Identity) -> bool {
    any(|entry| entry.is_of(cache) || matches!(entry.what, In::Dtor | In::Alone))
}

/// Whether it may not wait for a cache: what it holds up may be what the other one waits for.
pub(crate) fn must_not_wait() -> bool {
    any(|entry| matches!(entry.what, In::Dtor | In::Alone))
}

/// How often the thread counts in the word of a gate.
pub(crate) fn stays(word: &Published) -> u64 {
    let word = std::ptr::from_ref(word).addr();
    count(|entry| entry.what == In::Call(word) || entry.what == In::Wait(word))
}

/// Whether the thread has the cache to itself.
pub(crate) fn is_alone(cache: &Identity) -> bool {
    any(|entry| entry.cache.serial == cache.serial && entry.what == In::Alone)
}

/// Callbacks of the cache that this thread is inside of.
pub(crate) fn callbacks(cache: &Identity) -> u64 {
    count(|entry| entry.cache.serial == cache.serial && matches!(entry.what, In::Ctor | In::Dtor))
}

fn count(matches: impl Fn(&Entry) -> bool) -> u64 {
    with(|stack| stack.iter().filter(|entry| matches(entry)).count() as u64).unwrap_or(0)
}

/// Something that may be refused, as said of a constructor, of a destructor, and of a call around them.
#[derive(Clone, Copy)]
pub(crate) struct What([&'static str; 3]);

macro_rules! what {
    ($name:ident $text:literal) => {
        pub(crate) const $name: What = What([
            concat!($text, " inside the constructor"),
            concat!($text, " inside the destructor"),
            concat!($text, " inside a call"),
        ]);
    };
}

what!(ALLOC "an allocation");
what!(SHRINK "a shrink");
what!(VALIDATE "a validation");
what!(DESTROY "the end");
what!(WAIT "waiting for another thread");

/// Constructors that a thread may be inside of, each called by an allocation in the one before it. Forty fit on a stack of 128 KiB, the
/// smallest that threads get by default (musl); 45 do not.
const DEEPEST: u64 = 30;

/// An allocation from cache `inner`: an error in a destructor, and in a callback of that cache.
pub(crate) fn check_alloc(py: Python<'_>, serial: u64, inner: &str) -> PyResult<()> {
    if count(|entry| entry.what == In::Ctor) >= DEEPEST {
        let text =
            format!("cache '{inner}': an allocation inside {DEEPEST} constructors is refused: the stack has an end");
        return Err(errors::error(py, Kind::Reentry, text));
    }
    refuse(py, inner, ALLOC, |entry| match entry.what {
        In::Dtor => true,
        In::Ctor => entry.cache.serial == serial,
        In::Call(_) | In::Wait(_) | In::Alone => false,
    })
}

/// Something that cannot be done to cache `inner` in its own callbacks.
pub(crate) fn check(py: Python<'_>, inner: &Identity, what: What) -> PyResult<()> {
    refuse(py, &inner.name, what, |entry| entry.is_of(inner))
}

/// The error for something that would have to wait, where nothing may.
#[cold]
pub(crate) fn would_wait(py: Python<'_>, serial: u64, inner: &str) -> PyErr {
    if waits_for(serial) {
        let text = format!(
            "cache '{inner}': its end in a signal handler is refused while the same thread waits for its pending frees: end it afterwards"
        );
        return errors::error(py, Kind::Reentry, text);
    }
    refuse(py, inner, WAIT, |entry| !matches!(entry.what, In::Wait(_)))
        .err()
        .unwrap_or_else(|| errors::from_core(py, reentry("?", inner, WAIT.0[2])))
}

/// The error for waiting for readers, which asks no cache for anything, where nothing may be waited for.
#[cold]
pub(crate) fn would_wait_for_readers(py: Python<'_>, what: &str) -> PyErr {
    let innermost = with(|stack| {
        let entry = stack.iter().rev().find(|entry| matches!(entry.what, In::Dtor | In::Alone))?;
        let callback = if entry.what == In::Dtor { "the destructor" } else { "a call" };
        Some(format!(" inside {callback} of cache '{}'", entry.cache.name))
    });
    let place = innermost.flatten().unwrap_or_default();
    let text = format!("{what}{place} is refused: it waits for other threads, which may be waiting for this one");
    errors::error(py, Kind::Reentry, text)
}

fn refuse(py: Python<'_>, inner: &str, what: What, matches: impl Fn(&Entry) -> bool) -> PyResult<()> {
    let outer = with(|stack| {
        let entry = stack.iter().rev().find(|entry| matches(entry))?;
        let text = match entry.what {
            In::Ctor => 0,
            In::Dtor => 1,
            In::Call(_) | In::Wait(_) | In::Alone => 2,
        };
        Some((entry.cache.name.clone(), what.0[text]))
    });
    match outer.flatten() {
        Some((outer, text)) => Err(errors::from_core(py, reentry(&outer, inner, text))),
        None => Ok(()),
    }
}

fn reentry(outer: &str, inner: &str, what: &'static str) -> Error {
    Error::Reentry { outer: outer.to_owned(), inner: inner.to_owned(), what }
}
