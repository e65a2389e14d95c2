#![forbid(unsafe_code)]
//! The word that says where the storage of a preallocated cache is in its life.
//!
//! ```text
//!          set_up                end                  end                release
//!   Free ----------> SetUp ----------------> Ending ----------> Read ---------------> Free
//!     ^ failed: as it was   ^------ refused ----+         (readers of its attributes are left)
//! ```
//!
//! Every change but the last is made under a lock that the caller names, so that of many threads one sets the cache up and the
//! others find it done. The last one may come from any thread at any time: whoever drops the cache's name last. A word of
//! zero is free storage, so zeroed memory needs no initialiser.

use super::plant::Bug;
use super::roles::Published;

/// Where a storage is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing is in it.
    Free,
    /// A cache that is in use, or may be.
    SetUp,
    /// Its cache is being destroyed.
    Ending,
    /// Its cache is gone, and somebody still reads what it was.
    Read,
}

impl Phase {
    const ALL: [Self; 4] = [Self::Free, Self::SetUp, Self::Ending, Self::Read];
}

/// Why a change did not come about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused<E> {
    /// The storage was not where the change begins.
    Phase(Phase),
    /// The lock is not to be had.
    Locked,
    /// The work failed; the storage is as it was.
    Failed(E),
}

/// The word.
#[repr(transparent)]
pub(crate) struct SetupWord(Published);

impl SetupWord {
    /// Free storage.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self(Published::new(0))
    }

    /// Free storage.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self(Published::new(0))
    }

    /// Where the storage is; with it, all that led there.
    pub fn phase(&self) -> Phase {
        Phase::ALL[self.0.read() as usize % Phase::ALL.len()]
    }

    fn go(&self, phase: Phase) {
        self.0.publish(phase as u64);
    }

    /// Sets free storage up by `make`, which runs for one caller only; `publish` shows what it made, while the lock is held.
    ///
    /// # Errors
    /// [`Refused::Locked`] where `lock` gives none; [`Refused::Phase`] where the storage was not free; [`Refused::Failed`] with
    /// what `make` said: it is free still.
    pub fn set_up<G, T, E>(
        &self,
        lock: impl FnOnce() -> Option<G>,
        make: impl FnOnce() -> Result<T, E>,
        publish: impl FnOnce(&T),
    ) -> Result<T, Refused<E>> {
        let before = self.phase();
        let _turn = lock().ok_or(Refused::Locked)?;
        // Another thread may have done it while this one came by the lock.
        let phase = if Bug::SetupOneLook.planted() { before } else { self.phase() };
        if phase != Phase::Free {
            return Err(Refused::Phase(phase));
        }
        let made = make().map_err(Refused::Failed)?;
        publish(&made);
        self.go(Phase::SetUp);
        Ok(made)
    }

    /// Ends what was set up: `destroy` runs without the lock, as it may wait and may run foreign code; `unpublish` takes
    /// back what `publish` showed. Afterwards the storage is being read, until [`SetupWord::release`].
    ///
    /// # Errors
    /// [`Refused::Locked`] where `lock` gives none; [`Refused::Phase`] where it was not set up, or another thread is ending it;
    /// [`Refused::Failed`] with what `destroy` said: it is set up still.
    pub fn end<G, T, E>(
        &self,
        lock: impl Fn() -> Option<G>,
        destroy: impl FnOnce() -> Result<(), E>,
        unpublish: impl FnOnce() -> T,
    ) -> Result<T, Refused<E>> {
        let turn = lock().ok_or(Refused::Locked)?;
        let phase = self.phase();
        if phase != Phase::SetUp {
            return Err(Refused::Phase(phase));
        }
        self.go(Phase::Ending);
        drop(turn);
        let done = destroy();
        let _turn = lock();
        if let Err(error) = done {
            self.go(Phase::SetUp);
            return Err(Refused::Failed(error));
        }
        // First, so that a signal handler on this thread does not look for what `unpublish` takes.
        self.go(Phase::Read);
        Ok(unpublish())
    }

    /// The last reader has gone, or a setup came to nothing: the storage is free from here on, and not touched again.
    pub fn release(&self) {
        self.go(Phase::Free);
    }
}

#[cfg(all(test, loom))]
#[path = "setup_models.rs"]
mod models;
