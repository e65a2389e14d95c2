#![forbid(unsafe_code)]
//! Slots that a fault parks, in the model of the slot protocol: nothing hits while a slot is parked, nothing is lost or
//! doubled by parking and opening, and a child forked at any moment finds a parked slot parked.

use super::{At, Cpu, Flag, Null, Pair, Wrong, at, model};
use crate::sync::Bug;

const ME: usize = 1;
const NEIGHBOUR: usize = 2;

impl Cpu {
    /// `At::park`.
    fn park(&self) -> bool {
        if self.take_out().is_none() {
            return false;
        }
        self.step(|state| state.flag = Flag::Parked);
        true
    }

    /// `At::unpark`, and `Rseq::unpark` below it.
    fn unpark(&self) {
        let mut open = self.step(|state| {
            assert_eq!(state.flag, Flag::Parked, "only the parker opens");
            state.flag = Flag::Drainer;
            state.intent
        });
        if let (Wrong::UnparkedFull, At { sheaf, .. }) = (self.wrong, open.main) {
            open = Pair { main: at(sheaf, 1), spare: Null };
        }
        self.reopen(open);
    }
}

fn frees_and_allocates(cpu: &Cpu) -> Vec<u32> {
    cpu.free(ME, 8);
    cpu.alloc(ME).into_iter().collect()
}

fn allocates(cpu: &Cpu) -> Vec<u32> {
    cpu.alloc(ME).into_iter().chain([8]).collect()
}

fn neighbour_allocates(cpu: &Cpu) -> Vec<u32> {
    cpu.alloc(NEIGHBOUR).into_iter().collect()
}

fn parks(cpu: &Cpu) -> Vec<u32> {
    if cpu.park() {
        for _ in 0..2 {
            assert_eq!(cpu.read(), Pair::STOPPED, "a sequence changed a parked slot");
        }
        cpu.unpark();
    }
    vec![]
}

fn drains(cpu: &Cpu) -> Vec<u32> {
    cpu.flush();
    vec![]
}

fn forks(cpu: &Cpu) -> Vec<u32> {
    let parent = cpu.step(|state| state.clone());
    let child = cpu.child_of(parent.clone());
    let (objects, sheaves) = child.census(&[]);
    assert!(objects.windows(2).all(|pair| pair[0] < pair[1]), "the child has an object twice: {objects:?}");
    assert!(sheaves.windows(2).all(|pair| pair[0] < pair[1]), "the child has a sheaf twice: {sheaves:?}");
    assert!(parent.flag != Flag::Parked || child.pair == Pair::STOPPED, "the child opened a parked slot");
    vec![]
}

fn park_against_alloc(wrong: Wrong) {
    model(Some(4), wrong, (1, 1), [allocates, parks]);
}

fn park_and_a_fork(wrong: Wrong) {
    model(Some(2), wrong, (1, 1), [frees_and_allocates, parks, forks]);
}

#[test]
fn loom_park_against_alloc() {
    park_against_alloc(Wrong::Nothing);
}

#[test]
fn loom_park_against_free_and_alloc() {
    model(Some(3), Wrong::Nothing, (0, 2), [frees_and_allocates, parks]);
    model(Some(3), Wrong::Nothing, (2, 2), [frees_and_allocates, parks]);
}

#[test]
fn loom_park_against_two_threads_of_the_cpu() {
    model(Some(2), Wrong::Nothing, (1, 1), [frees_and_allocates, neighbour_allocates, parks]);
}

#[test]
fn loom_park_against_a_drain() {
    model(Some(2), Wrong::Nothing, (1, 1), [allocates, parks, drains]);
}

#[test]
fn loom_park_and_a_fork_at_any_moment() {
    park_and_a_fork(Wrong::Nothing);
}

#[test]
#[should_panic(expected = "lost or doubled")]
fn loom_park_against_alloc_catches_no_membarrier() {
    Bug::NoMembarrier.plant(|| park_against_alloc(Wrong::Nothing));
}

#[test]
#[should_panic(expected = "lost or doubled")]
fn loom_park_catches_a_slot_that_is_opened_with_what_was_flushed() {
    park_against_alloc(Wrong::UnparkedFull);
}

#[test]
#[should_panic(expected = "the child opened a parked slot")]
fn loom_park_and_a_fork_catches_a_parked_slot_taken_for_stale() {
    park_and_a_fork(Wrong::ParkedIsStale);
}
