#![forbid(unsafe_code)]
//! What a fork must not cut in two: the registries of caches. Their locks are taken before a fork and released after it, in
//! parent and child, so that the child finds every registry whole. Alloc and free have nothing to wait for here.

use super::registry::{Registry, lock};
use crate::error::Error;
use crate::{os, rcu};
use std::cell::{Cell, RefCell};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

type Registries = Vec<&'static Mutex<Registry>>;

static REGISTRIES: Mutex<Registries> = Mutex::new(Vec::new());

/// Setups and ends of static caches, one at a time.
static SETUP: Mutex<()> = Mutex::new(());

/// Arenas are made one at a time: a child must not find one half made.
static MAKING: Mutex<()> = Mutex::new(());

/// Read by who has a sheaf of `free_rcu` in hand, which no list has then: forks wait for them, so that a child finds them all.
static HANDS: RwLock<()> = RwLock::new(());

/// No fork while it lives. Taken once by a thread, after any registry's lock, before the line of a cache; short, and nothing is
/// waited for meanwhile.
pub(super) struct Hands(#[expect(dead_code, reason = "held, not looked at")] RwLockReadGuard<'static, ()>);

/// See [`Hands`].
pub(super) fn hands() -> Hands {
    Hands(HANDS.read().unwrap_or_else(PoisonError::into_inner))
}

/// What a forked child does next; it is told whether every lock was held around the fork, and is free now.
static IN_CHILD: OnceLock<fn(bool)> = OnceLock::new();

/// Sets that, once; under a registry's lock, so that no fork comes between.
pub(super) fn then_in_child(then: fn(bool)) {
    let _set = IN_CHILD.set(then);
}

struct Held {
    _hands: RwLockWriteGuard<'static, ()>,
    _setup: Turn,
    _making: MutexGuard<'static, ()>,
    _list: MutexGuard<'static, Registries>,
    _registries: Vec<MutexGuard<'static, Registry>>,
}

thread_local! {
    /// The forking thread's, between prepare and release.
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
}

static HOOKS: os::fork::Hooks = os::fork::Hooks::new(prepare, release, in_child);

/// Watches for forks from now on.
pub(super) fn watch() {
    // Below caches, so before them.
    rcu::watch_forks();
    HOOKS.watch();
}

/// Makes a registry one that forks take care of.
pub(super) fn add(registry: &'static Mutex<Registry>) {
    REGISTRIES.lock().unwrap_or_else(PoisonError::into_inner).push(registry);
}

/// Locks one registry after the other and shows it to `each`.
pub(super) fn each_registry(mut each: impl FnMut(&Registry)) {
    // The list is not held meanwhile: a fork takes it before the registries.
    let registries = REGISTRIES.lock().unwrap_or_else(PoisonError::into_inner).clone();
    registries.into_iter().for_each(|registry| each(&lock(registry)));
}

thread_local! {
    /// Whether the thread holds [`SETUP`], or is about to.
    static HAS_TURN: Cell<bool> = const { Cell::new(false) };
}

/// A thread's turn at [`SETUP`].
pub(super) struct Turn(Option<MutexGuard<'static, ()>>);

impl Drop for Turn {
    fn drop(&mut self) {
        // In this order, so that a signal handler in between does not wait for the thread that it interrupted.
        drop(self.0.take());
        HAS_TURN.set(false);
    }
}

/// Held while a static cache is set up or ended. Nothing foreign is called and nothing waited for meanwhile.
pub(super) fn setup() -> Turn {
    HAS_TURN.set(true);
    Turn(Some(SETUP.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// As [`setup`]; `None` where the thread has its turn already: in a handler of a fork or of a signal, which a first use may be in.
pub(super) fn setup_once() -> Option<Turn> {
    (!HAS_TURN.get()).then(setup)
}

/// Why a thread that has its turn gets no second one: it would wait for itself.
pub(super) fn refused(what: String) -> Error {
    Error::Unavailable { what, why: "this thread is in the middle of another setup, or of a fork".to_owned() }
}

/// Held while an arena is made. Whoever holds [`setup`] too took that first.
pub(super) fn making() -> MutexGuard<'static, ()> {
    MAKING.lock().unwrap_or_else(PoisonError::into_inner)
}

extern "C" fn prepare() {
    let (setup, making) = (setup(), making());
    let list = REGISTRIES.lock().unwrap_or_else(PoisonError::into_inner);
    let registries = list.iter().map(|registry| lock(registry)).collect();
    let hands = HANDS.write().unwrap_or_else(PoisonError::into_inner);
    let all = Held { _hands: hands, _setup: setup, _making: making, _list: list, _registries: registries };
    // A thread whose locals are gone is ending; a fork from there goes without the locks.
    let _ = HELD.try_with(|held| held.replace(Some(all)));
}

extern "C" fn release() {
    let _ = HELD.try_with(RefCell::take);
}

extern "C" fn in_child() {
    let held = HELD.try_with(RefCell::take).ok().flatten();
    let whole = held.is_some();
    drop(held);
    if let Some(then) = IN_CHILD.get() {
        then(whole);
    }
}
