#![forbid(unsafe_code)]
//! Model of the slot protocol under loom: restartable sequences against drains, in abstract steps.
//!
//! The sequences are assembly, which no checker runs, so this is the protocol and not its text: each step that one
//! instruction or system call does at once is one critical section here, and loom runs the steps in every order. A sequence
//! notes that it runs on the CPU; whoever runs there after it, or a membarrier, takes that note away, and then its commit
//! does not happen but the sequence starts over. Stores that still wait in the CPU's buffer are commits that happen late.
//!
//! Shown: no object and no sheaf is ever in two places or in none; nor, in a child forked at any moment, in two.
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p haybarn --release --lib loom_`.

use crate::sync::Bug;
use loom::sync::{Arc, Mutex};
use loom::thread;

const CAPACITY: usize = 2;

/// A cursor: in a sheaf with so many objects below it, nowhere (a spare that is not there), or the stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cursor {
    Null,
    Stop,
    At { sheaf: usize, level: usize },
}
use Cursor::{At, Null, Stop};

fn at(sheaf: usize, level: usize) -> Cursor {
    At { sheaf, level }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Pair {
    main: Cursor,
    spare: Cursor,
}

impl Pair {
    const STOPPED: Self = Self { main: Stop, spare: Stop };

    fn is_stopped(self) -> bool {
        self.main == Stop || self.spare == Stop
    }

    /// What stands in `self`, word by word, and `before` where that is the stop.
    fn over(self, before: Self) -> Self {
        let pick = |now, before| if now == Stop { before } else { now };
        Self { main: pick(self.main, before.main), spare: pick(self.spare, before.spare) }
    }
}

/// Who has the slot's flag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Flag {
    Free,
    Drainer,
    /// Nobody: the slot is parked, and its main sheaf stands in the intent.
    Parked,
}

/// All there is; objects are numbers.
#[derive(Clone, Debug)]
struct State {
    pair: Pair,
    /// Which thread's sequence may commit.
    running: Option<usize>,
    /// Sequences that committed.
    commits: u32,
    flag: Flag,
    intent: Pair,
    sheaves: [[u32; CAPACITY]; 4],
    barn: Vec<Cursor>,
    pool: Vec<usize>,
    slab: Vec<u32>,
}

impl State {
    fn objects_under(&self, cursor: Cursor) -> &[u32] {
        if let At { sheaf, level } = cursor { &self.sheaves[sheaf][..level] } else { &[] }
    }

    /// Every object and every sheaf that lies somewhere, and the objects in `held`.
    fn census(&self, held: &[u32]) -> (Vec<u32>, Vec<usize>) {
        let (mut objects, mut sheaves) = (held.to_vec(), self.pool.clone());
        objects.extend(&self.slab);
        let parked = if self.flag == Flag::Parked { [self.intent.main, self.intent.spare] } else { [Null, Null] };
        for &cursor in self.barn.iter().chain([&self.pair.main, &self.pair.spare]).chain(&parked) {
            objects.extend(self.objects_under(cursor));
            if let At { sheaf, .. } = cursor {
                sheaves.push(sheaf);
            }
        }
        objects.sort_unstable();
        sheaves.sort_unstable();
        (objects, sheaves)
    }
}

/// What this model can be made to do wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// The drainer believes its first swap.
    OneRound,
    /// The drainer keeps the whole pair of its last round instead of the newer words.
    WholePair,
    /// The drainer flushes before it writes down that the sheaves are empty.
    NotSettled,
    /// A parked slot counts as left by a vanished drainer.
    ParkedIsStale,
    /// A slot that is opened after parking gets what its intent had before the flush.
    UnparkedFull,
    /// A swap by one sequence takes a stopped main for one that is used up.
    SwapsStopped,
}

struct Cpu {
    state: Mutex<State>,
    wrong: Wrong,
}

impl Cpu {
    /// One thing that happens at once.
    fn step<R>(&self, step: impl FnOnce(&mut State) -> R) -> R {
        step(&mut self.state.lock().expect("no panic"))
    }

    /// A sequence: `prepare` looks and decides, `commit` is its last instruction. Starts over while it is interrupted.
    fn sequence<T: Copy>(
        &self,
        me: usize,
        prepare: impl Fn(&State) -> Option<T>,
        commit: impl Fn(&mut State, T),
    ) -> Option<T> {
        loop {
            let found = self.step(|state| {
                state.running = Some(me);
                prepare(state)
            })?;
            let committed = self.step(|state| {
                let undisturbed = state.running == Some(me);
                if undisturbed {
                    commit(state, found);
                    state.commits += 1;
                }
                undisturbed
            });
            if committed {
                return Some(found);
            }
        }
    }

    fn pop(&self, me: usize) -> Option<u32> {
        let top = |state: &State| match state.pair.main {
            At { sheaf, level } if level > 0 => Some((sheaf, level - 1, state.sheaves[sheaf][level - 1])),
            _ => None,
        };
        self.sequence(me, top, |state, (sheaf, level, _)| state.pair.main = at(sheaf, level)).map(|(.., object)| object)
    }

    fn push(&self, me: usize, object: u32) -> bool {
        let room = |state: &State| match state.pair.main {
            At { sheaf, level } if level < CAPACITY => Some((sheaf, level)),
            _ => None,
        };
        self.sequence(me, room, |state, (sheaf, level)| {
            state.sheaves[sheaf][level] = object;
            state.pair.main = at(sheaf, level + 1);
        })
        .is_some()
    }

    fn replace(&self, me: usize, old: Pair, new: Pair) -> bool {
        self.sequence(me, |state| (state.pair == old).then_some(()), |state, ()| state.pair = new).is_some()
    }

    /// `seq::swap_empty` and `seq::swap_full`: two loads, a look at each, and the commit. Swaps if main is at `used_up` objects and
    /// the spare is not.
    fn swap(&self, me: usize, used_up: usize) -> bool {
        loop {
            let main = self.step(|state| {
                state.running = Some(me);
                state.pair.main
            });
            let stopped = main == Stop && self.wrong == Wrong::SwapsStopped;
            if !stopped && !matches!(main, At { level, .. } if level == used_up) {
                return false;
            }
            let spare = self.step(|state| state.pair.spare);
            if !matches!(spare, At { level, .. } if level != used_up) {
                return false;
            }
            let committed = self.step(|state| {
                let undisturbed = state.running == Some(me);
                if undisturbed {
                    state.pair = Pair { main: spare, spare: main };
                    state.commits += 1;
                }
                undisturbed
            });
            if committed {
                return true;
            }
        }
    }

    /// Two loads.
    fn read(&self) -> Pair {
        let main = self.step(|state| state.pair.main);
        Pair { main, spare: self.step(|state| state.pair.spare) }
    }

    /// Main, spare, a full sheaf of the barn, else the slab.
    fn alloc(&self, me: usize) -> Option<u32> {
        for _ in 0..2 {
            if let Some(object) = self.pop(me) {
                return Some(object);
            }
            let old = self.read();
            if old.is_stopped() {
                break;
            }
            let At { level: 0, .. } = old.main else { continue };
            if matches!(old.spare, At { level: 1.., .. }) {
                self.replace(me, old, Pair { main: old.spare, spare: old.main });
            } else if let Some(full) = self.step(|state| state.barn.pop()) {
                let installed = self.replace(me, old, Pair { main: full, spare: old.spare });
                self.step(|state| state.barn.push(if installed { old.main } else { full }));
            }
        }
        self.step(|state| state.slab.pop())
    }

    fn free(&self, me: usize, object: u32) {
        if !self.push(me, object) {
            self.step(|state| state.slab.push(object));
        }
    }

    fn membarrier(&self) {
        if !Bug::NoMembarrier.planted() {
            self.step(|state| state.running = None);
        }
    }

    /// `Rseq::drain`, step for step.
    fn drain(&self) -> Option<Pair> {
        let taken = self.step(|state| {
            let free = state.flag == Flag::Free;
            if free {
                state.flag = Flag::Drainer;
            }
            free
        });
        if !taken {
            return None;
        }
        let mut got = Pair { main: Null, spare: Null };
        let mut rounds = 0;
        loop {
            let seen = self.read();
            if rounds > 0 && (seen == Pair::STOPPED || self.wrong == Wrong::OneRound) {
                return Some(got);
            }
            let taken = if self.wrong == Wrong::WholePair { seen } else { seen.over(got) };
            self.step(|state| state.intent = taken);
            let swapped = self.step(|state| {
                let same = state.pair == seen;
                if same {
                    state.pair = Pair::STOPPED;
                }
                same
            });
            if swapped {
                got = taken;
                rounds += 1;
                self.membarrier();
            }
        }
    }

    /// `At::drain`: drains, flushes, opens again with the empty main.
    fn flush(&self) {
        if let Some(open) = self.take_out() {
            self.reopen(open);
        }
    }

    fn reopen(&self, open: Pair) {
        self.step(|state| state.intent = open);
        self.step(|state| state.pair.spare = open.spare);
        self.step(|state| state.pair.main = open.main);
        self.step(|state| state.flag = Flag::Free);
    }

    /// `At::take_out`: what the slot shall be opened with.
    fn take_out(&self) -> Option<Pair> {
        let got = self.drain()?;
        let At { sheaf, .. } = got.main else { panic!("the drain got no main sheaf: {got:?}") };
        let open = Pair { main: at(sheaf, 0), spare: Null };
        if self.wrong != Wrong::NotSettled {
            self.step(|state| state.intent = open);
        }
        for cursor in [got.main, got.spare] {
            self.step(|state| {
                let objects = state.objects_under(cursor).to_vec();
                state.slab.extend(objects);
                if let (At { sheaf, .. }, true) = (cursor, cursor == got.spare) {
                    state.pool.push(sheaf);
                }
            });
        }
        Some(open)
    }

    /// What a child that is forked now finds, once it has opened the slot that the drainer left.
    fn fork(&self) -> State {
        self.child_of(self.step(|state| state.clone()))
    }

    fn child_of(&self, mut child: State) -> State {
        let left = child.flag == Flag::Drainer || (self.wrong == Wrong::ParkedIsStale && child.flag == Flag::Parked);
        if left {
            child.pair = child.pair.over(child.intent);
            child.flag = Flag::Free;
        }
        child
    }
}

/// Main has objects 1 and 2 or less, the spare 3 and 4, the barn a full sheaf of 5 and 6; the slab has 7; 8 is in use.
fn start(main: usize, spare: usize) -> State {
    let slab = (1..=2).skip(main).chain((3..=4).skip(spare)).chain([7]).collect();
    State {
        pair: Pair { main: at(0, main), spare: at(1, spare) },
        running: None,
        commits: 0,
        flag: Flag::Free,
        intent: Pair::STOPPED,
        sheaves: [[1, 2], [3, 4], [5, 6], [0, 0]],
        barn: vec![at(2, 2)],
        pool: vec![3],
        slab,
    }
}

type Work = fn(&Cpu) -> Vec<u32>;

/// Runs `works` at once; object 8 is the first one's to free.
fn model<const N: usize>(preemptions: Option<usize>, wrong: Wrong, (main, spare): (usize, usize), works: [Work; N]) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(move || {
        let cpu = Arc::new(Cpu { state: Mutex::new(start(main, spare)), wrong });
        let others = works.into_iter().skip(1).map(|work| {
            let cpu = cpu.clone();
            thread::spawn(move || work(&cpu))
        });
        let others: Vec<_> = others.collect();
        let mut held = works[0](&cpu);
        for other in others {
            held.extend(other.join().expect("no panic"));
        }
        let (objects, sheaves) = cpu.step(|state| state.census(&held));
        assert_eq!(objects, [1, 2, 3, 4, 5, 6, 7, 8], "an object was lost or doubled");
        assert_eq!(sheaves, [0, 1, 2, 3], "a sheaf was lost or doubled");
        assert!(!cpu.read().is_stopped(), "the slot stayed closed");
    });
}

#[path = "drain_cases_models.rs"]
mod cases;
#[path = "idle_models.rs"]
mod idle;
#[path = "park_models.rs"]
mod park;
