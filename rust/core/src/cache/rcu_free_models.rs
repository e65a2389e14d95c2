#![forbid(unsafe_code)]
//! Model of the hand-over of `rcu_free` sheaves under loom: pushes, full sheaves on their way to the stack, drains, barriers and
//! reclaims in every order, in abstract steps.
//!
//! As in the model of the slots (`percpu/drain_models.rs`), what one instruction or system call does at once is one step, and a
//! sequence commits only if nothing took its CPU away since it began. A cookie is the set of sections that were open when it was
//! taken: that the real grace period keeps that promise is what the models of `rcu` show.
//!
//! Shown: no object is free while a reader that may see it is in its section; after a barrier everything is free that was given
//! before; no object and no sheaf is in two places or in none.
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p haybarn --release --lib loom_`.

use crate::sync::Bug;
use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
use loom::thread;

const CAPACITY: usize = 2;
/// Sheaves that there are.
const SHEAVES: usize = 4;

/// The slot's word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Word {
    NoSheaf,
    Stop,
    At { sheaf: usize, level: usize },
}
use Word::{At, NoSheaf, Stop};

/// Sections that were open: thread and which of its sections.
type Cookie = Vec<(usize, u32)>;

struct State {
    word: Word,
    /// Which thread's sequence may commit.
    running: Option<usize>,
    sheaves: [[u32; CAPACITY]; SHEAVES],
    /// How full a sheaf was when it was saved.
    saved: [usize; SHEAVES],
    pool: Vec<usize>,
    waiting: Vec<usize>,
    /// Sheaves on the stack, in the line and on their way there.
    queued: usize,
    /// Objects that may be handed out.
    free: Vec<u32>,
    /// Each thread's open section.
    open: [Option<u32>; 4],
    sections: u32,
    /// What readers find.
    published: Option<u32>,
}

/// What this model can be made to do wrong, but for the bugs that have a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// A full sheaf goes to the stack outside of a read section.
    QueueOutside,
    /// The barrier does not look at the stack again after its first grace period.
    NoSecondLook,
    /// The drainer believes its first swap.
    OneRound,
    /// Drainers do not lock the line.
    NoLock,
    /// A full sheaf is counted when its section is over.
    LateCount,
    /// A drainer on the slot's CPU takes the sheaf without a sequence.
    NoSequence,
}

/// A sheaf in the line and the cookie that it waits for.
type Entry = (usize, Cookie);

struct Cache {
    state: Mutex<State>,
    section_ended: Condvar,
    line: Mutex<Vec<Entry>>,
    wrong: Wrong,
}

impl Cache {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    /// One thing that happens at once.
    fn step<R>(&self, step: impl FnOnce(&mut State) -> R) -> R {
        step(&mut self.lock())
    }

    /// A sequence: `prepare` looks and decides, `commit` is its last instruction. Starts over while it is interrupted.
    fn sequence<T: Copy>(
        &self,
        me: usize,
        prepare: impl Fn(&State) -> Option<T>,
        commit: impl Fn(&mut State, T),
    ) -> bool {
        loop {
            let found = self.step(|state| {
                state.running = Some(me);
                prepare(state)
            });
            let Some(found) = found else { return false };
            let committed = self.step(|state| {
                let undisturbed = state.running == Some(me);
                if undisturbed {
                    commit(state, found);
                }
                undisturbed
            });
            if committed {
                return true;
            }
        }
    }

    fn read_lock(&self, me: usize) {
        self.step(|state| {
            state.sections += 1;
            state.open[me] = Some(state.sections);
        });
    }

    fn read_unlock(&self, me: usize) {
        self.step(|state| state.open[me] = None);
        self.section_ended.notify_all();
    }

    fn cookie(&self) -> Cookie {
        self.step(|state| state.open.iter().enumerate().filter_map(|(n, open)| open.map(|it| (n, it))).collect())
    }

    fn is_over(state: &State, cookie: &Cookie) -> bool {
        cookie.iter().all(|&(thread, section)| state.open[thread] != Some(section))
    }

    fn wait(&self, cookie: &Cookie) {
        let mut state = self.lock();
        while !Self::is_over(&state, cookie) {
            state = self.section_ended.wait(state).expect("no panic");
        }
    }

    fn push(&self, me: usize, object: u32) -> bool {
        let room = |state: &State| match state.word {
            At { sheaf, level } if level < CAPACITY => Some((sheaf, level)),
            _ => None,
        };
        self.sequence(me, room, |state, (sheaf, level)| {
            state.sheaves[sheaf][level] = object;
            state.word = At { sheaf, level: level + 1 };
        })
    }

    /// `put_on_rcu_sheaf`; the object is put in a sheaf of its own where the slot cannot be entered (a loose batch).
    fn free_rcu(&self, me: usize, object: u32) {
        for _ in 0..2 {
            if self.push(me, object) {
                return;
            }
            let there = self.step(|state| state.word);
            if matches!(there, Stop) || matches!(there, At { level, .. } if level < CAPACITY) {
                continue;
            }
            let Some(new) = self.step(|state| state.pool.pop()) else { break };
            self.step(|state| state.sheaves[new][0] = object);
            if self.wrong != Wrong::QueueOutside {
                self.read_lock(me);
            }
            let same = |state: &State| (state.word == there).then_some(());
            let replaced = self.sequence(me, same, |state, ()| state.word = At { sheaf: new, level: 1 });
            if let (true, At { sheaf, level }) = (replaced, there) {
                self.queue(sheaf, level);
            }
            if self.wrong != Wrong::QueueOutside {
                self.read_unlock(me);
            }
            if self.wrong == Wrong::LateCount && replaced && matches!(there, At { .. }) {
                self.step(|state| state.queued += 1);
            }
            if replaced {
                return;
            }
            self.step(|state| state.pool.push(new));
        }
        let _line = self.line.lock().expect("no panic");
        let loose = self.step(|state| state.pool.pop()).expect("a sheaf for each object");
        self.step(|state| state.sheaves[loose][0] = object);
        self.let_go(loose, 1);
        self.step(|state| state.waiting.push(loose));
    }

    fn queue(&self, sheaf: usize, level: usize) {
        if self.wrong == Wrong::LateCount {
            self.step(|state| state.saved[sheaf] = level);
        } else {
            self.let_go(sheaf, level);
        }
        self.step(|state| state.waiting.push(sheaf));
    }

    fn let_go(&self, sheaf: usize, level: usize) {
        self.step(|state| {
            state.saved[sheaf] = level;
            state.queued += 1;
        });
    }

    /// The way of `Rseq::drain_rcu` where the drainer runs on the slot's CPU: one sequence.
    fn take_here(&self, me: usize) -> Option<usize> {
        let seen = self.step(|state| state.word);
        let At { sheaf, level } = seen else { return None };
        let same = |state: &State| (state.word == seen).then_some(());
        let taken = if self.wrong == Wrong::NoSequence {
            let same = self.step(|state| same(state).is_some());
            self.step(|state| state.word = NoSheaf);
            same
        } else {
            self.sequence(me, same, |state, ()| state.word = NoSheaf)
        };
        if !taken {
            return None;
        }
        self.let_go(sheaf, level);
        Some(sheaf)
    }

    /// `Rseq::drain_rcu`, step for step; the sheaf, if there was one.
    fn drain(&self, here: Option<usize>) -> Option<usize> {
        if let Some(sheaf) = here.and_then(|me| self.take_here(me)) {
            return Some(sheaf);
        }
        let mut got = NoSheaf;
        let mut rounds = 0;
        loop {
            let seen = self.step(|state| state.word);
            if rounds > 0 && (seen == Stop || self.wrong == Wrong::OneRound) {
                self.step(|state| state.word = NoSheaf);
                let At { sheaf, level } = got else { return None };
                self.let_go(sheaf, level);
                return Some(sheaf);
            }
            if matches!(seen, Stop | NoSheaf) {
                return None;
            }
            let swapped = self.step(|state| {
                let same = state.word == seen;
                if same {
                    state.word = Stop;
                }
                same
            });
            if swapped {
                got = seen;
                rounds += 1;
                if !Bug::NoMembarrier.planted() {
                    self.step(|state| state.running = None);
                }
            }
        }
    }

    /// Gives the waiting sheaves and the one that was drained a cookie, if there are any. The stack is looked at where something
    /// is counted that is in neither of the other places.
    fn collect(&self, line: &mut Vec<Entry>, drained: Option<usize>) -> Option<Cookie> {
        let others = line.len() + usize::from(drained.is_some());
        let queued = self.step(|state| state.queued);
        let mut taken = if queued == others { vec![] } else { self.step(|state| core::mem::take(&mut state.waiting)) };
        taken.extend(drained);
        if taken.is_empty() {
            return None;
        }
        let cookie = self.cookie();
        line.extend(taken.into_iter().map(|sheaf| (sheaf, cookie.clone())));
        Some(cookie)
    }

    /// `hand_over`, with the line locked afterwards.
    fn hand_over(&self, here: Option<usize>) -> MutexGuard<'_, Vec<Entry>> {
        let unlocked = if self.wrong == Wrong::NoLock { self.drain(here) } else { None };
        let mut line = self.line.lock().expect("no panic");
        let drained = if self.wrong == Wrong::NoLock { unlocked } else { self.drain(here) };
        self.collect(&mut line, drained);
        line
    }

    /// `reclaim_ripe`: the oldest first, while their periods are over.
    fn reclaim(&self) {
        self.reclaim_from(&mut self.line.lock().expect("no panic"));
    }

    fn reclaim_from(&self, line: &mut Vec<Entry>) {
        while let Some((sheaf, cookie)) = line.first().cloned() {
            if !Bug::EarlyReclaim.planted() && !self.step(|state| Self::is_over(state, &cookie)) {
                return;
            }
            line.remove(0);
            self.step(|state| {
                let objects = state.sheaves[sheaf][..state.saved[sheaf]].to_vec();
                state.free.extend(objects);
                state.pool.push(sheaf);
                state.queued -= 1;
            });
        }
    }

    /// `here`: by a thread of the slot's CPU.
    fn barrier(&self, here: Option<usize>) {
        let cookie = {
            // `end_at_once`
            let mut line = self.hand_over(here);
            let cookie = self.cookie();
            let mut stragglers = None;
            if self.step(|state| Self::is_over(state, &cookie)) {
                if self.wrong != Wrong::NoSecondLook {
                    stragglers = self.collect(&mut line, None);
                }
                if stragglers.is_none() {
                    self.reclaim_from(&mut line);
                    return;
                }
            }
            stragglers.unwrap_or(cookie)
        };
        self.wait(&cookie);
        if self.wrong != Wrong::NoSecondLook {
            let stragglers = self.collect(&mut self.line.lock().expect("no panic"), None);
            if let Some(cookie) = stragglers {
                self.wait(&cookie);
            }
        }
        self.reclaim();
    }

    /// Every object and every sheaf that lies somewhere.
    fn census(&self) -> (Vec<u32>, Vec<usize>) {
        let line = self.line.lock().expect("no panic");
        let state = self.lock();
        let (mut objects, mut sheaves) = (state.free.clone(), state.pool.clone());
        let saved = state.waiting.iter().chain(line.iter().map(|(sheaf, _)| sheaf));
        for &sheaf in saved {
            objects.extend(&state.sheaves[sheaf][..state.saved[sheaf]]);
            sheaves.push(sheaf);
        }
        if let At { sheaf, level } = state.word {
            objects.extend(&state.sheaves[sheaf][..level]);
            sheaves.push(sheaf);
        }
        objects.sort_unstable();
        sheaves.sort_unstable();
        (objects, sheaves)
    }
}

type Work = fn(&Cache, usize);

/// Runs `works` at once, each with its number. The slot has a sheaf of the objects 1 to `level`; 9 is published and the first
/// thread's to free, 8 the second's.
fn model<const N: usize>(
    preemptions: Option<usize>,
    wrong: Wrong,
    level: usize,
    given: &'static [u32],
    works: [Work; N],
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(move || {
        let state = State {
            word: At { sheaf: 0, level },
            running: None,
            sheaves: [[1, 2], [0; 2], [0; 2], [0; 2]],
            saved: [0; SHEAVES],
            pool: vec![3, 2, 1],
            waiting: vec![],
            queued: 0,
            free: vec![],
            open: [None; 4],
            sections: 0,
            published: Some(9),
        };
        let (state, line) = (Mutex::new(state), Mutex::new(vec![]));
        let cache = Arc::new(Cache { state, section_ended: Condvar::new(), line, wrong });
        let others = works.into_iter().enumerate().skip(1).map(|(n, work)| {
            let cache = cache.clone();
            thread::spawn(move || work(&cache, n))
        });
        let others: Vec<_> = others.collect();
        works[0](&cache, 0);
        for other in others {
            other.join().expect("no panic");
        }
        let all: Vec<_> = (1..=level as u32).chain(given.iter().copied()).collect();
        assert_eq!(cache.census(), (all, (0..SHEAVES).collect()), "an object or a sheaf was lost or doubled");
        assert_ne!(cache.lock().word, Stop, "the slot stayed closed");
    });
}

#[path = "rcu_free_cases_models.rs"]
mod cases;
