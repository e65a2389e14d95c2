//! A number that grows in every forked child, so that what a vanished thread left behind can be told from what is in use;
//! and the hooks around a fork.

use crate::sync::{Counter, TryFlag};

static GENERATION: Counter = Counter::new();

/// What one part of the library does around a fork.
pub(crate) struct Hooks {
    watched: TryFlag,
    prepare: extern "C" fn(),
    parent: extern "C" fn(),
    child: extern "C" fn(),
}

static NUMBERED: Hooks = Hooks::new(nothing, nothing, in_child);

extern "C" fn nothing() {}

extern "C" fn in_child() {
    GENERATION.add(1);
}

impl Hooks {
    /// `prepare` runs before a fork in the forking thread, `parent` and `child` after it. The hooks that are watched last have
    /// their `prepare` run first, so that locks are taken in the order in which they nest: a part's hooks are watched after
    /// those of the parts that it uses.
    pub const fn new(prepare: extern "C" fn(), parent: extern "C" fn(), child: extern "C" fn()) -> Self {
        Self { watched: TryFlag::new(), prepare, parent, child }
    }

    /// Hooks for the child alone.
    pub const fn in_child(child: extern "C" fn()) -> Self {
        Self::new(nothing, nothing, child)
    }

    /// From now on. Takes no lock and never waits, so that a signal handler may come through here.
    pub fn watch(&self) {
        // First: the generation has grown when other hooks run in the child.
        NUMBERED.watch_these();
        self.watch_these();
    }

    fn watch_these(&self) {
        if self.watched.is_held_by(|mark| mark != 0) || !self.watched.try_take(1, |_| false) {
            return;
        }
        // SAFETY: the hooks are functions that live as long as the library; what they do is their owner's.
        let refused = unsafe { libc::pthread_atfork(Some(self.prepare), Some(self.parent), Some(self.child)) };
        assert_eq!(refused, 0, "pthread_atfork: no memory for three handlers");
    }
}

/// This process's generation, never 0: the owner's mark on flags that a fork may orphan.
pub fn generation() -> u64 {
    GENERATION.get() + 1
}

/// The mark of a slot that is closed until further notice, by nobody in particular: no fork makes it stale.
pub(crate) const PARKED: u64 = u64::MAX;

/// True if `mark` was left by a thread of the parent.
pub(crate) fn is_stale(mark: u64) -> bool {
    mark != generation() && mark != PARKED
}
