//! The choice among the backends, made anew at each step: a predicted branch, where a call through a table would keep the
//! slow paths from seeing the few instructions of most steps.

use super::backend::{BackendKind, Closed, DrainIntent, Drained, PerCpu};
use super::flagged::Flagged;
#[cfg(not(target_env = "musl"))]
use super::rseq;
use super::slot::{Cpu, Pair, Slots};

/// The backend of one cache.
#[derive(Clone, Copy)]
pub(crate) enum Backend {
    /// Sequences, for caches that do not count their fast hits.
    #[cfg(not(target_env = "musl"))]
    Plain,
    /// Sequences, for caches that do.
    #[cfg(not(target_env = "musl"))]
    Counting,
    /// A flag per slot; the arena's.
    Flagged(&'static Flagged),
}

impl Backend {
    /// The backend of an arena's caches; `flagged` is the arena's for those with a flag, `counting` whether fast hits are
    /// counted.
    pub fn new(kind: BackendKind, flagged: &'static Flagged, counting: bool) -> Self {
        match kind {
            #[cfg(not(target_env = "musl"))]
            BackendKind::Rseq if counting => Self::Counting,
            #[cfg(not(target_env = "musl"))]
            BackendKind::Rseq => Self::Plain,
            #[cfg(target_env = "musl")]
            BackendKind::Rseq => unreachable!("`choose` refuses rseq in a build without sequences"),
            BackendKind::Locked | BackendKind::Virtual => Self::Flagged(flagged),
        }
    }
}

/// Each step with the contract of [`PerCpu`]'s of the same name.
macro_rules! steps {
    ($($(#[$how:meta])* fn $step:ident($($argument:ident: $kind:ty),*) $(-> $result:ty)?;)*) => {
        impl Backend {
            $(
                $(#[$how])*
                /// # Safety
                /// See [`PerCpu`].
                pub unsafe fn $step(self, $($argument: $kind),*) $(-> $result)? {
                    // SAFETY: the caller's word.
                    unsafe {
                        match self {
                            #[cfg(not(target_env = "musl"))]
                            Self::Plain => rseq::Plain {}.$step($($argument),*),
                            #[cfg(not(target_env = "musl"))]
                            Self::Counting => rseq::Counting {}.$step($($argument),*),
                            Self::Flagged(flagged) => flagged.$step($($argument),*),
                        }
                    }
                }
            )*
        }
    };
}

impl Backend {
    /// See [`PerCpu::cpu`].
    #[inline]
    pub fn cpu(self) -> Cpu {
        match self {
            #[cfg(not(target_env = "musl"))]
            Self::Plain | Self::Counting => rseq::Plain {}.cpu(),
            Self::Flagged(flagged) => flagged.cpu(),
        }
    }
}

impl Backend {
    /// Whether slots are entered by sequences that do not count, those of the inlined paths.
    #[inline(always)]
    pub fn is_plain(self) -> bool {
        match self {
            #[cfg(not(target_env = "musl"))]
            Self::Plain => true,
            _ => false,
        }
    }
}

steps! {
    #[inline] fn pop(slots: Slots, out: &mut [*mut u8]) -> Result<usize, Closed>;
    #[inline] fn push(slots: Slots, objects: &[*mut u8], mask: usize) -> Result<usize, Closed>;
    #[inline] fn pair(slots: Slots, cpu: Cpu) -> Pair;
    #[inline] fn replace(slots: Slots, cpu: Cpu, old: Pair, new: Pair) -> bool;
    fn drain(slots: Slots, cpu: Cpu, intent: &DrainIntent) -> Option<Drained>;
    fn settle(slots: Slots, cpu: Cpu, pair: Pair, intent: &DrainIntent);
    fn reopen(slots: Slots, cpu: Cpu, pair: Pair, intent: &DrainIntent);
    fn park(slots: Slots, cpu: Cpu);
    fn is_parked(slots: Slots, cpu: Cpu) -> bool;
    fn unpark(slots: Slots, cpu: Cpu, intent: &DrainIntent);
    fn recover(slots: Slots, cpu: Cpu, intent: &DrainIntent);
    fn push_rcu(slots: Slots, objects: &[*mut u8], mask: usize) -> usize;
    fn rcu(slots: Slots, cpu: Cpu) -> *mut u64;
    fn replace_rcu(slots: Slots, cpu: Cpu, old: *mut u64, new: *mut u64) -> bool;
    fn drain_rcu(slots: Slots, cpu: Cpu) -> Option<(*mut u64, u32)>;
    fn peek_rcu(slots: Slots, cpu: Cpu) -> *mut u64;
    fn install(slots: Slots, cpu: Cpu, main: *mut u64);
    fn peek(slots: Slots, cpu: Cpu) -> Pair;
    fn take_hits(slots: Slots, cpu: Cpu) -> (u64, u64);
    fn peek_hits(slots: Slots, cpu: Cpu) -> (u64, u64);
}
