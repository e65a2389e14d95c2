//! Where violations are written down: all are counted, the first few kept in words, and the run is told to stop.
#![forbid(unsafe_code)]

use crossbeam_utils::atomic::AtomicCell;
use std::fmt;
use std::sync::{Mutex, PoisonError, TryLockError};

/// What an allocator did that it must not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An object that somebody holds was handed out again.
    HandedOutTwice,
    /// An object shares bytes with one that somebody holds.
    Overlap,
    /// An object's address is not a multiple of the cache's alignment.
    Misaligned,
    /// The allocator's own check does not know the address that it handed out.
    OffTheGrid,
    /// An object's contents changed while it was held.
    Contents,
    /// An object asked for as zeroed was not.
    NotZeroed,
    /// An object was marked as held by nobody when its holder gave it back.
    NotHeld,
    /// No object was to be had although memory was not short.
    Refused,
    /// At the end the allocator's counts and the oracle's differ.
    Conservation,
    /// The allocator's own validation failed.
    Invalid,
    /// A cache could not be made, or not be destroyed, or was destroyed with live objects.
    Lifetime,
    /// A look-up gave another object than the one looked for.
    AnotherObject,
    /// An object is of another node's memory than was asked for.
    OtherNode,
    /// Memory of a type-safe cache that a reader looked at was no object of the type.
    NotTyped,
    /// A forked child failed, crashed or did not come to an end.
    Child,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 15] = [
        Self::HandedOutTwice,
        Self::Overlap,
        Self::Misaligned,
        Self::OffTheGrid,
        Self::Contents,
        Self::NotZeroed,
        Self::NotHeld,
        Self::Refused,
        Self::Conservation,
        Self::Invalid,
        Self::Lifetime,
        Self::AnotherObject,
        Self::OtherNode,
        Self::NotTyped,
        Self::Child,
    ];

    /// The name of the violation in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::HandedOutTwice => "handed out twice",
            Self::Overlap => "overlap",
            Self::Misaligned => "misaligned",
            Self::OffTheGrid => "not an object's address",
            Self::Contents => "contents changed",
            Self::NotZeroed => "not zeroed",
            Self::NotHeld => "not held",
            Self::Refused => "allocation refused",
            Self::Conservation => "conservation",
            Self::Invalid => "invalid structures",
            Self::Lifetime => "create or destroy",
            Self::AnotherObject => "another object",
            Self::OtherNode => "other node",
            Self::NotTyped => "type not kept",
            Self::Child => "forked child",
        }
    }
}

/// One violation in words.
#[derive(Clone, Debug)]
pub struct Violation {
    /// What happened.
    pub kind: Kind,
    /// The scenario that saw it.
    pub scenario: &'static str,
    /// The thread that saw it, by its number in the run; none for what is seen after the threads have ended.
    pub thread: Option<u32>,
    /// The cache's name.
    pub cache: String,
    /// The object's address, 0 where the violation is not about one object.
    pub address: usize,
    /// What should have been.
    pub expected: String,
    /// What was.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: cache {}", self.scenario, self.kind.name(), self.cache)?;
        if self.address != 0 {
            write!(f, ", object at {:#x}", self.address)?;
        }
        if let Some(thread) = self.thread {
            write!(f, ", thread {thread}")?;
        }
        write!(f, ": expected {}, saw {}", self.expected, self.seen)
    }
}

/// The violations of one run. Writing one down never waits for another thread, so that a forked child can do it.
pub struct Ledger {
    count: AtomicCell<u64>,
    first: AtomicCell<u64>,
    examples: Mutex<Vec<Violation>>,
    echo: AtomicCell<bool>,
}

impl Ledger {
    /// So many violations are kept in words; with the last of them the run stops.
    pub const EXAMPLES: usize = 8;

    /// An empty ledger; with `echo` each kept violation also goes to standard error at once, so that it is seen even if the broken
    /// allocator then takes the process down.
    #[must_use]
    pub fn new(echo: bool) -> Self {
        Self {
            count: AtomicCell::new(0),
            first: AtomicCell::new(0),
            examples: Mutex::new(Vec::new()),
            echo: AtomicCell::new(echo),
        }
    }

    /// Writes a violation down.
    pub fn report(&self, violation: Violation) {
        self.first.compare_exchange(0, violation.kind as u64 + 1).ok();
        self.count.fetch_add(1);
        let mut examples = match self.examples.try_lock() {
            Ok(examples) => examples,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if examples.len() < Self::EXAMPLES {
            if self.echo.load() {
                eprintln!("violation: {violation}");
            }
            examples.push(violation);
        }
    }

    /// Writes no more to standard error: in a forked child another thread may have held it.
    pub fn hush(&self) {
        self.echo.store(false);
    }

    /// Violations so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load()
    }

    /// The kind of the first violation, if there was one.
    #[must_use]
    pub fn first(&self) -> Option<Kind> {
        let first = usize::try_from(self.first.load()).ok()?;
        first.checked_sub(1).map(|index| Kind::ALL[index])
    }

    /// Whether there is no use in going on.
    #[must_use]
    pub fn full(&self) -> bool {
        self.count.load() >= Self::EXAMPLES as u64
    }

    /// The violations that were kept in words.
    #[must_use]
    pub fn examples(&self) -> Vec<Violation> {
        self.examples.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
