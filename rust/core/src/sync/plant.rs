#![forbid(unsafe_code)]
//! Bugs planted on purpose, one row each, so that models and stress runs can be seen to catch them.
//!
//! A cargo feature plants a bug in a whole build, which is for stress runs and for threads on real hardware; a build with
//! `plant-by-name` has the one whose feature `HAYBARN_PLANT` names, so that one build serves for all. Under a model
//! checker a test plants one for itself, so that the same run which shows the models clean shows them failing where they
//! should. In every other build [`Bug::planted`] is a constant.

/// What can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The tag of a stack's head stays as it is.
    NoTag,
    /// The swap of a doubleword releases nothing.
    WeakRelease,
    /// Neither swap nor load of a doubleword acquires anything.
    WeakAcquire,
    /// Pages that are given back release nothing.
    WeakGive,
    /// A dead slab's descriptor goes back to the pool although it is still listed.
    ReuseListed,
    /// A dead slab's descriptor goes back to the pool with the first of the two who let go of it.
    RecycleByFirst,
    /// A type-safe cache's pages go while readers are still there.
    NoGracePeriod,
    /// A dead slab's objects are destructed while others may still take the slab off its list.
    DestructUnowned,
    /// A drain does not wait for the sequences in flight.
    NoMembarrier,
    /// A grace period's scan reads the readers' words without the barrier before it.
    RcuNoMembarrier,
    /// A reader has no fence between its entry and its reads. Models only: elsewhere the scan's membarrier stands for it.
    RcuNoFence,
    /// A thread's first section has no fence, which a scan that does not know the thread yet relies on. Models only.
    RcuLateReader,
    /// A reader's entry is not stored.
    RcuHiddenReader,
    /// A reader's entry releases nothing of the section before it.
    RcuWeakEnter,
    /// A reader without a record does not look again whether a period has begun.
    RcuCrowdOnce,
    /// A reader's end releases nothing.
    RcuWeakLeave,
    /// A grace period ends without a look at the readers.
    RcuNoScan,
    /// A cookie is content with the period that is in progress already.
    RcuEarlyEnd,
    /// A cookie is taken by a load.
    RcuPlainCookie,
    /// A barrier does not wait for callbacks that another thread is running.
    RcuHastyBarrier,
    /// The service thread goes to sleep without a look at whether it was rung for meanwhile.
    DeafSleeper,
    /// It leaves, and the bell is silent.
    DeafLeaver,
    /// A prefill takes the spare although another thread changed the slot meanwhile.
    UnwonSpare,
    /// A look at a cache does not keep the cache's end waiting.
    LookUnpinned,
    /// What was given to `free_rcu` is handed out again without a grace period.
    EarlyReclaim,
    /// A slot's pair is changed with neither a sequence nor the flag around it.
    UnguardedSlot,
    /// Pages that were to be marked are not looked at again once they are taken. Models only.
    StaleMarks,
    /// The setup of a static cache believes the look that it took before it had the lock.
    SetupOneLook,
    /// A new name comes to share a storage that is being ended.
    JoinDying,
    /// A name whose storage is being ended may be ended again. Models only.
    EndsTwice,
    /// The end of a name gives up where another joined between its two halves. Models only.
    HalfEnd,
    /// A mixed bulk of kmalloc's goes to the class of its first object.
    BulkByFirst,
    /// A look for idle CPUs drains one whatever it did since the look before. Models only.
    HastyLook,
    /// Who asks for an object of a node's memory gets what the sheaf has, and a free takes every object for its own node's.
    StrayNode,
    /// A step of a Python object's state is stored over whatever that has become meanwhile, as if there were a GIL. Models only, as
    /// are those that follow.
    ObjectUnchecked,
    /// The release of a buffer of a Python object is a load and a store.
    ObjectLostRelease,
    /// Who takes the parked objects does not look whether it was the one.
    ObjectParkedTwice,
    /// A callback's view of a slot is pinned after its end.
    ObjectLatePin,
}

/// The feature of a bug, and whether the build has it.
macro_rules! feature {
    ($name:literal) => {
        Some(($name, cfg!(feature = $name)))
    };
}

impl Bug {
    /// Whether the bug is there.
    #[inline(always)]
    pub fn planted(self) -> bool {
        let in_build = match self.feature() {
            Some((name, on)) => on || (cfg!(feature = "plant-by-name") && by_name::is(name)),
            None => false,
        };
        in_build || self.planted_by_test()
    }

    /// `None`: only models plant it.
    #[inline(always)]
    const fn feature(self) -> Option<(&'static str, bool)> {
        match self {
            Self::NoTag => feature!("plant-no-tag"),
            Self::WeakRelease => feature!("plant-weak-release"),
            Self::ReuseListed => feature!("plant-reuse-listed"),
            Self::RecycleByFirst => feature!("plant-recycle-by-first"),
            Self::NoGracePeriod => feature!("plant-no-grace-period"),
            Self::DestructUnowned => feature!("plant-destruct-unowned"),
            Self::NoMembarrier => feature!("plant-no-membarrier"),
            Self::RcuNoMembarrier => feature!("plant-rcu-no-membarrier"),
            Self::RcuHiddenReader => feature!("plant-rcu-hidden-reader"),
            Self::RcuNoScan => feature!("plant-rcu-no-scan"),
            Self::RcuEarlyEnd => feature!("plant-rcu-early-end"),
            Self::RcuHastyBarrier => feature!("plant-rcu-hasty-barrier"),
            Self::UnwonSpare => feature!("plant-unwon-spare"),
            Self::LookUnpinned => feature!("plant-look-unpinned"),
            Self::EarlyReclaim => feature!("plant-early-reclaim"),
            Self::SetupOneLook => feature!("plant-setup-one-look"),
            Self::JoinDying => feature!("plant-join-dying"),
            Self::BulkByFirst => feature!("plant-bulk-by-first"),
            Self::StrayNode => feature!("plant-stray-node"),
            Self::UnguardedSlot => feature!("plant-unguarded-slot"),
            _ => None,
        }
    }

    #[cfg(not(all(test, any(loom, shuttle))))]
    #[inline(always)]
    fn planted_by_test(self) -> bool {
        false
    }

    #[cfg(all(test, any(loom, shuttle)))]
    fn planted_by_test(self) -> bool {
        by_test::PLANTED.get() == Some(self)
    }

    /// Runs `model` with the bug. The threads of a model are all the calling thread to the system, so no other test sees it.
    #[cfg(all(test, any(loom, shuttle)))]
    pub fn plant(self, model: impl FnOnce()) {
        struct Weeded;
        impl Drop for Weeded {
            fn drop(&mut self) {
                by_test::PLANTED.set(None);
            }
        }
        let _weeded = Weeded;
        by_test::PLANTED.set(Some(self));
        model();
    }
}

#[cfg(all(test, any(loom, shuttle)))]
mod by_test {
    use super::Bug;
    use std::cell::Cell;

    thread_local! {
        pub static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }
}

/// Which bug a build with `plant-by-name` has.
mod by_name {
    use std::sync::OnceLock;

    #[cold]
    pub fn is(name: &str) -> bool {
        static NAMED: OnceLock<Option<String>> = OnceLock::new();
        NAMED.get_or_init(|| std::env::var("HAYBARN_PLANT").ok()).as_deref() == Some(name)
    }
}
