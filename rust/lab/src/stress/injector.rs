//! Failures during a run: spells in which objects, memory or both fail with a probability, and spells in which nothing does,
//! so that the paths which faults close are walked as well.
#![forbid(unsafe_code)]

use crossbeam_utils::atomic::AtomicCell;
use haybarn::fault::{FaultAttr, FaultGuard, fail_page_alloc, fail_slab};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Steps and operations of all threads together that a spell lasts: some milliseconds.
const SPELL: u64 = 5000;

/// What fails in a spell: objects, memory. Failures first: a short run is to see some. Half of the spells have none: even where
/// everything fails in the others, each path must be walked.
const SPELLS: [(bool, bool); 6] =
    [(true, false), (false, false), (false, true), (false, false), (true, true), (false, false)];

/// Starts and ends faults while threads work, and counts what they did.
pub(super) struct Injector {
    probability: f64,
    state: Mutex<State>,
    refused: AtomicCell<u64>,
}

#[derive(Default)]
struct State {
    begun: bool,
    /// Of the present spell.
    steps: u64,
    spell: usize,
    objects: Option<FaultGuard>,
    memory: Option<FaultGuard>,
    /// By the faults that are over.
    fired: u64,
}

impl State {
    fn spell(&mut self, probability: f64) -> Result<(), String> {
        let attr = FaultAttr { probability, ..FaultAttr::default() };
        let (objects, memory) = SPELLS[self.spell % SPELLS.len()];
        if objects && self.objects.is_none() {
            self.objects = Some(fail_slab(None, attr).map_err(|error| error.to_string())?);
        }
        if memory && self.memory.is_none() {
            self.memory = Some(fail_page_alloc(attr).map_err(|error| error.to_string())?);
        }
        let over = [self.objects.take_if(|_| !objects), self.memory.take_if(|_| !memory)];
        self.fired += over.into_iter().flatten().map(FaultGuard::end).sum::<u64>();
        Ok(())
    }
}

impl Injector {
    /// For failures with `probability`, which is checked; nothing fails yet.
    pub fn new(probability: f64) -> Result<Self, String> {
        let attr = FaultAttr { probability, ..FaultAttr::default() };
        attr.check().map_err(|error| format!("inject: {error}"))?;
        Ok(Self { probability, state: Mutex::default(), refused: AtomicCell::new(0) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread begins to work: with the first one, the first spell.
    pub fn begin(&self) -> Result<(), String> {
        let mut state = self.state();
        if !state.begun {
            state.begun = true;
            state.spell(self.probability)?;
        }
        Ok(())
    }

    /// A thread has made so many steps and operations more. Never waits: in a forked child another thread of the parent may hold the lock for good.
    pub fn steps(&self, steps: u64) {
        let Ok(mut state) = self.state.try_lock() else { return };
        state.steps += steps;
        if state.steps >= SPELL {
            state.steps = 0;
            state.spell += 1;
            state.spell(self.probability).expect("parameters that were legal before");
        }
    }

    /// The allocator refused something while faults were about.
    pub fn refused(&self) {
        self.refused.fetch_add(1);
    }

    /// All threads have ended, and so do the faults: how often they fired, and what the threads were refused.
    pub fn end(&self) -> (u64, u64) {
        let mut state = self.state();
        let over = [state.objects.take(), state.memory.take()];
        state.fired += over.into_iter().flatten().map(FaultGuard::end).sum::<u64>();
        (state.fired, self.refused.load())
    }
}
