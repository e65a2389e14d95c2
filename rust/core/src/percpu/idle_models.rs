#![forbid(unsafe_code)]
//! Looks for CPUs that nobody uses, in the model of the slot protocol: a CPU is drained only if nothing happened on it since the
//! last look, no object is lost or doubled when its owner comes back in the middle, and what a slow path puts into a slot is
//! looked at by somebody later.

use super::{At, Cpu, Pair, Wrong, model};
use crate::sync::Bug;
use loom::sync::{Arc, Mutex};
use loom::thread;

const ME: usize = 1;
const LOOKS: usize = 3;

/// What a look finds in a slot that holds objects: the pair and how often the slot was changed (`At::fingerprint`).
type Print = Option<(Pair, u32)>;

impl Cpu {
    fn fingerprint(&self) -> Print {
        let pair = self.read();
        let holds = [pair.main, pair.spare].iter().any(|cursor| matches!(cursor, At { level: 1.., .. }));
        let hits = self.step(|state| state.commits);
        holds.then_some((pair, hits))
    }

    /// `idle::look`; whether it drained.
    fn look(&self, seen: &mut Print) -> bool {
        let commits = |cpu: &Self| cpu.step(|state| state.commits);
        let now = self.fingerprint();
        let idle = now.is_some() && (now == *seen || Bug::HastyLook.planted());
        if idle {
            let since = seen.map_or(0, |(_, before)| before);
            assert_eq!(now.map(|(_, hits)| hits), Some(since), "a CPU was drained that was used since the last look");
            assert!(commits(self) >= since);
            self.flush();
            *seen = None;
        } else {
            *seen = now;
        }
        idle
    }
}

fn allocates_and_frees(cpu: &Cpu) -> Vec<u32> {
    let held = cpu.alloc(ME);
    cpu.free(ME, 8);
    held.into_iter().collect()
}

fn frees_and_allocates(cpu: &Cpu) -> Vec<u32> {
    cpu.free(ME, 8);
    cpu.alloc(ME).into_iter().collect()
}

fn rests(_: &Cpu) -> Vec<u32> {
    vec![8]
}

fn looks(cpu: &Cpu) -> Vec<u32> {
    let mut seen = None;
    (0..LOOKS).for_each(|_| drop(cpu.look(&mut seen)));
    vec![]
}

/// The last of these looks finds nothing, however the CPU was left.
fn looks_until_drained(cpu: &Cpu) -> Vec<u32> {
    let mut seen = None;
    let drained = (0..LOOKS).filter(|_| cpu.look(&mut seen)).count();
    assert_eq!(drained, 1, "a CPU that rests is drained, once");
    vec![]
}

fn against_an_owner_that_comes_back() {
    model(Some(3), Wrong::Nothing, (1, 1), [allocates_and_frees, looks]);
}

#[test]
fn loom_idle_look_against_an_owner_that_comes_back() {
    against_an_owner_that_comes_back();
}

#[test]
fn loom_idle_look_against_frees_first() {
    model(Some(3), Wrong::Nothing, (1, 2), [frees_and_allocates, looks]);
    model(Some(3), Wrong::Nothing, (0, 2), [frees_and_allocates, looks]);
}

#[test]
fn loom_idle_look_drains_who_rests() {
    model(None, Wrong::Nothing, (2, 1), [rests, looks_until_drained]);
}

#[test]
fn loom_idle_two_looks_meet() {
    model(
        Some(2),
        Wrong::Nothing,
        (1, 1),
        [allocates_and_frees, looks, |cpu| {
            cpu.flush();
            vec![]
        }],
    );
}

#[test]
#[should_panic(expected = "used since the last look")]
fn loom_idle_look_catches_a_hasty_one() {
    Bug::HastyLook.plant(against_an_owner_that_comes_back);
}

#[test]
#[should_panic(expected = "lost or doubled")]
fn loom_idle_look_catches_no_membarrier() {
    Bug::NoMembarrier.plant(against_an_owner_that_comes_back);
}

/// Who tells the task that a cache is in use (`in_use::note`), and when the task may stop looking (`Idle::run`).
#[derive(Default)]
struct Told {
    /// Whether the slot holds objects, as memory has it, and what waits in the owner's store buffer.
    holds: bool,
    buffered: bool,
    in_use: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Deaf {
    No,
    /// No barrier on everybody between the hearing and the look.
    NoFence,
    /// The look comes before the hearing.
    LooksFirst,
}

/// A slow path puts objects into a slot while the task looks for the last time.
fn told(deaf: Deaf) {
    loom::model(move || {
        let told = Arc::new(Mutex::new(Told { in_use: true, ..Told::default() }));
        let step = |told: &Mutex<Told>, step: fn(&mut Told) -> bool| step(&mut told.lock().expect("no panic"));
        let task = {
            let told = told.clone();
            thread::spawn(move || {
                let look = || step(&told, |told| told.holds);
                let early = deaf == Deaf::LooksFirst && look();
                step(&told, |told| core::mem::take(&mut told.in_use));
                if deaf != Deaf::NoFence {
                    step(&told, |told| {
                        told.holds |= core::mem::take(&mut told.buffered);
                        true
                    });
                }
                if if deaf == Deaf::LooksFirst { early } else { look() } {
                    step(&told, |told| core::mem::replace(&mut told.in_use, true));
                }
            })
        };
        step(&told, |told| core::mem::replace(&mut told.buffered, true));
        if !step(&told, |told| told.in_use) {
            // A locked instruction: what was buffered is in memory before it.
            step(&told, |told| {
                told.holds |= core::mem::take(&mut told.buffered);
                core::mem::replace(&mut told.in_use, true)
            });
        }
        task.join().expect("no panic");
        assert!(step(&told, |told| told.in_use), "objects lie in a slot that nobody will look at");
    });
}

#[test]
fn loom_idle_slow_path_against_the_last_look() {
    told(Deaf::No);
}

#[test]
#[should_panic(expected = "nobody will look at")]
fn loom_idle_catches_a_look_without_a_fence() {
    told(Deaf::NoFence);
}

#[test]
#[should_panic(expected = "nobody will look at")]
fn loom_idle_catches_a_look_before_the_hearing() {
    told(Deaf::LooksFirst);
}
