//! What a CPU backend must do for the slow paths, and which backends there are.

use super::slot::{Cpu, Pair, Slots};
use crate::error::Error;
use crate::os;
use std::cell::Cell;
use std::fmt;
use std::str::FromStr;

/// How a cache's per-CPU slots are entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendKind {
    /// Restartable sequences: no atomic instruction on the fast path.
    Rseq,
    /// A flag per CPU that is tried, never waited for; whoever finds it taken goes to the slab.
    Locked,
    /// As `Locked`, with the CPU named by the caller ([`set_virtual_cpu`]): deterministic on one thread, and any number of
    /// CPUs and nodes on any machine.
    Virtual,
}

impl BackendKind {
    /// Every backend, in the order of preference.
    pub const ALL: [Self; 3] = [Self::Rseq, Self::Locked, Self::Virtual];

    /// The name that options and reports use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rseq => "rseq",
            Self::Locked => "locked",
            Self::Virtual => "virtual",
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for BackendKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| Error::BadArgument {
            cache: String::new(),
            argument: "backend",
            value: name.to_owned(),
            legal: "rseq, locked or virtual".to_owned(),
        })
    }
}

/// The slot cannot be entered now: another thread is in it, or a drain stopped it. The caller goes on without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// What a drain took from a slot, and how many rounds it needed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drained {
    pub pair: Pair,
    /// The rcu sheaf, where it is drained with the pair: behind the flag nobody else could come at it.
    pub rcu: Option<*mut u64>,
    pub rounds: u32,
}

/// Words of a slot that survive the thread which drains it, so that a forked child can put back what it had taken.
pub(crate) struct DrainIntent(pub *mut Pair);

/// One way to enter a CPU's slot. None of these waits for another thread, except [`PerCpu::drain`].
///
/// # Safety of all methods
/// `slots` belong to a living cache of this backend; objects and sheaves that are given belong to the caller; what is taken
/// or displaced belongs to the caller afterwards.
pub(crate) trait PerCpu: Sync {
    /// The CPU that the caller's next steps will most likely run on. Never negative.
    fn cpu(&self) -> Cpu;

    /// Takes up to `out.len()` objects from the main sheaf, top first; 0 when it is empty.
    unsafe fn pop(&self, slots: Slots, out: &mut [*mut u8]) -> Result<usize, Closed>;

    /// Puts objects on the main sheaf while there is room; 0 when it is full. `mask` is the sheaf block's size less one.
    unsafe fn push(&self, slots: Slots, objects: &[*mut u8], mask: usize) -> Result<usize, Closed>;

    /// The pair of `cpu` at some moment; stopped where the slot cannot be entered now.
    unsafe fn pair(&self, slots: Slots, cpu: Cpu) -> Pair;

    /// Changes the pair of `cpu` if the caller runs there and it is still `old`.
    unsafe fn replace(&self, slots: Slots, cpu: Cpu, old: Pair, new: Pair) -> bool;

    /// Takes both sheaves of `cpu` and stops the slot until [`PerCpu::reopen`]. `None`: somebody else drains it. Waits for
    /// the CPU (never for a lock that alloc or free could hold across a wait).
    unsafe fn drain(&self, slots: Slots, cpu: Cpu, intent: &DrainIntent) -> Option<Drained>;

    /// Writes down the pair that a drained slot will be opened with. To be called before the drained objects go anywhere
    /// else: a child forked from then on opens the slot with this pair, and must not find them in two places.
    unsafe fn settle(&self, slots: Slots, cpu: Cpu, pair: Pair, intent: &DrainIntent);

    /// Gives a drained slot its sheaves back and opens it.
    unsafe fn reopen(&self, slots: Slots, cpu: Cpu, pair: Pair, intent: &DrainIntent);

    /// Leaves a drained slot stopped for good: nobody's, with the pair of [`PerCpu::settle`], until [`PerCpu::unpark`]. No fork
    /// opens it.
    unsafe fn park(&self, slots: Slots, cpu: Cpu) {
        // SAFETY: the slot is alive, and its flag the drainer's.
        unsafe { (*slots.of(cpu)).flag.leave_to(os::fork::PARKED) }
    }

    /// Whether a slot is parked; then it holds no object.
    unsafe fn is_parked(&self, slots: Slots, cpu: Cpu) -> bool {
        // SAFETY: the slot is alive.
        unsafe { (*slots.of(cpu)).flag.is_held_by(|mark| mark == os::fork::PARKED) }
    }

    /// Opens a parked slot with the pair that it was settled with. Only one thread at a time parks and unparks a slot.
    unsafe fn unpark(&self, slots: Slots, cpu: Cpu, intent: &DrainIntent);

    /// Opens slots that a vanished drainer (in the parent, before fork) left stopped.
    unsafe fn recover(&self, slots: Slots, cpu: Cpu, intent: &DrainIntent);

    /// Puts objects from the front on the calling thread's CPU's rcu sheaf while there is room; returns how many. 0 when it
    /// is full, not there, or cannot be entered now. `mask` is the sheaf block's size less one.
    unsafe fn push_rcu(&self, slots: Slots, objects: &[*mut u8], mask: usize) -> usize;

    /// The cursor of the rcu sheaf of `cpu` at some moment: [`super::no_sheaf`] where there is none, the stop where the slot
    /// cannot be entered now or never has one.
    unsafe fn rcu(&self, slots: Slots, cpu: Cpu) -> *mut u64;

    /// Changes the rcu sheaf of `cpu` from `old` (not the stop) to `new` if the caller runs there and it is still `old`. What
    /// is displaced belongs to the caller.
    unsafe fn replace_rcu(&self, slots: Slots, cpu: Cpu, old: *mut u64, new: *mut u64) -> bool;

    /// Takes the rcu sheaf of `cpu`, if it has one, and how many rounds that took; afterwards it has none. One caller at a
    /// time, who sees to it that no fork cuts it off. Waits for the CPU, as [`PerCpu::drain`] does.
    unsafe fn drain_rcu(&self, slots: Slots, cpu: Cpu) -> Option<(*mut u64, u32)>;

    /// The word of the rcu sheaf as it lies there: for statistics.
    unsafe fn peek_rcu(&self, slots: Slots, cpu: Cpu) -> *mut u64;

    /// Gives a new slot its first main sheaf, and opens it for an rcu sheaf.
    unsafe fn install(&self, slots: Slots, cpu: Cpu, main: *mut u64);

    /// The pair as it lies there, stopped or not: for statistics and for a cache that nobody else uses.
    unsafe fn peek(&self, slots: Slots, cpu: Cpu) -> Pair;

    /// Takes the fast hits (allocations, frees) that the sequences counted and nobody has folded away yet.
    unsafe fn take_hits(&self, _slots: Slots, _cpu: Cpu) -> (u64, u64) {
        (0, 0)
    }

    /// The fast hits that are not folded away yet.
    unsafe fn peek_hits(&self, _slots: Slots, _cpu: Cpu) -> (u64, u64) {
        (0, 0)
    }
}

/// Why the best backend is not in use, and what is.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    pub kind: BackendKind,
    pub why: String,
}

/// Picks the backend: `forced` if it is there, else the best.
pub(crate) fn choose(forced: Option<BackendKind>) -> Result<Choice, Error> {
    let rseq = rseq_state();
    match (forced, rseq) {
        (Some(BackendKind::Rseq), Err(why)) => {
            Err(Error::Unavailable { what: "backend rseq".to_owned(), why: why.to_string() })
        }
        (Some(BackendKind::Rseq) | None, Ok(owner)) => Ok(Choice { kind: BackendKind::Rseq, why: owner }),
        (None, Err(why)) => Ok(Choice { kind: BackendKind::Locked, why: format!("no rseq: {why}") }),
        (Some(kind), _) => Ok(Choice { kind, why: "forced".to_owned() }),
    }
}

fn rseq_state() -> Result<String, String> {
    if let Some(why) = super::support::unsupported() {
        return Err(why.to_owned());
    }
    if os::possible_cpus() as usize > super::MAX_CPUS {
        return Err(format!("{} possible CPUs, more than {}", os::possible_cpus(), super::MAX_CPUS));
    }
    #[cfg(target_env = "musl")]
    return Err("this build has no restartable sequences".to_owned());
    #[cfg(not(target_env = "musl"))]
    os::rseq::set_up().as_ref().map(|owner| owner.name().to_owned()).map_err(Clone::clone)
}

thread_local! {
    static VIRTUAL_CPU: Cell<u32> = const { Cell::new(0) };
}

/// Names the CPU on which this thread runs in every arena with the `virtual` backend; `None` is CPU 0. Numbers wrap at the
/// arena's CPU count.
pub fn set_virtual_cpu(cpu: Option<u32>) {
    VIRTUAL_CPU.set(cpu.unwrap_or(0));
}

pub(crate) fn virtual_cpu() -> u32 {
    VIRTUAL_CPU.try_with(Cell::get).unwrap_or(0)
}
