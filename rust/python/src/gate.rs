//! Keeps the destruction of a cache apart from every call that is inside it.
//!
//! A word per shard: calls inside in the low bits, two flags above. Entering is one addition that also reads the
//! flags, so the destroyer (which sets them, then waits for the counts) and a caller can never miss each other.
//! Where the GIL is held for the whole of a short call, the GIL is its count: it only reads the flags.
#![forbid(unsafe_code)]

use haybarn::sync::Published;

/// No new objects: left by `with`, or destroyed.
const CLOSED: u64 = 1 << 62;
/// A destroyer is inside, or waits to be alone.
const EXCLUSIVE: u64 = 1 << 63;
const COUNT: u64 = CLOSED - 1;

/// Free-threaded callers would all write one word; so each thread counts itself in one of several.
#[cfg(Py_GIL_DISABLED)]
pub(crate) const SHARDS: usize = 16;
#[cfg(not(Py_GIL_DISABLED))]
pub(crate) const SHARDS: usize = 1;

#[repr(align(64))]
struct Shard(Published);

/// Why a caller may not enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// A destroyer is at work; its outcome is not known yet: wait, then try again.
    Busy,
    /// Closed to new objects.
    Closed,
}

/// The gate of one cache.
pub(crate) struct Gate {
    shards: [Shard; SHARDS],
    /// 1 while a destroyer has or wants the gate.
    owner: Published,
}

/// A counted stay inside.
pub(crate) struct Pass<'g>(&'g Published);

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.take(u64::MAX);
    }
}

/// A stay inside that the GIL covers, or a counted one where there is none.
#[cfg(not(Py_GIL_DISABLED))]
pub(crate) struct ShortPass;
#[cfg(Py_GIL_DISABLED)]
pub(crate) type ShortPass<'g> = Pass<'g>;

impl Gate {
    pub(crate) fn new() -> Self {
        Self { shards: core::array::from_fn(|_| Shard(Published::new(0))), owner: Published::new(0) }
    }

    /// Enters for a call that neither lets go of the GIL nor runs Python code, if no flag is set.
    #[cfg(not(Py_GIL_DISABLED))]
    #[inline]
    pub(crate) fn enter_short(&self) -> Option<ShortPass> {
        (self.shards[0].0.read() <= COUNT).then_some(ShortPass)
    }

    /// Enters for a call that neither waits nor runs Python code, if no flag is set.
    #[cfg(Py_GIL_DISABLED)]
    #[inline]
    pub(crate) fn enter_short(&self) -> Option<ShortPass<'_>> {
        self.enter(false).ok()
    }

    /// Enters for any call; `closed` says whether a closed gate is good enough (freeing, statistics).
    pub(crate) fn enter(&self, closed: bool) -> Result<Pass<'_>, Refused> {
        let word = self.shard();
        let seen = word.take(1);
        let pass = Pass(word);
        if seen & EXCLUSIVE != 0 {
            return Err(Refused::Busy);
        }
        if seen & CLOSED != 0 && !closed {
            return Err(Refused::Closed);
        }
        Ok(pass)
    }

    /// Whether the gate is closed to new objects.
    pub(crate) fn is_closed(&self) -> bool {
        self.shards[0].0.read() & CLOSED != 0
    }

    /// First step of a destroyer: keeps everybody else out. `false`: another destroyer was first.
    pub(crate) fn try_own(&self) -> bool {
        if self.owner.publish_if(0, 1).is_err() {
            return false;
        }
        for shard in &self.shards {
            shard.0.take(EXCLUSIVE);
        }
        true
    }

    /// Second step: whether all who were inside have left.
    pub(crate) fn is_quiet(&self) -> bool {
        self.shards.iter().all(|shard| shard.0.read() & COUNT == 0)
    }

    /// Last step: lets others in again; `close` shuts out new objects from now on.
    pub(crate) fn disown(&self, close: bool) {
        let closing = if close && !self.is_closed() { CLOSED } else { 0 };
        for shard in &self.shards {
            // Both bits change in one addition: 2^63 is its own opposite.
            shard.0.take(EXCLUSIVE.wrapping_add(closing));
        }
        self.owner.publish(0);
    }

    /// In the child of a fork the other threads are gone, and with them their stays.
    pub(crate) fn reset_after_fork(&self) {
        for shard in &self.shards {
            shard.0.publish(shard.0.read() & CLOSED);
        }
        self.owner.publish(0);
    }

    #[inline]
    fn shard(&self) -> &Published {
        &self.shards[shard_of_thread()].0
    }
}

/// The shard in which the calling thread counts itself.
#[cfg(not(Py_GIL_DISABLED))]
#[inline]
pub(crate) fn shard_of_thread() -> usize {
    0
}

/// The shard in which the calling thread counts itself: threads in order of their first call, round and round.
#[cfg(Py_GIL_DISABLED)]
#[inline]
pub(crate) fn shard_of_thread() -> usize {
    static NEXT: std::sync::OnceLock<Published> = std::sync::OnceLock::new();
    std::thread_local! {
        static MINE: usize = NEXT.get_or_init(|| Published::new(0)).take(1) as usize % SHARDS;
    }
    MINE.try_with(|mine| *mine).unwrap_or(0)
}
