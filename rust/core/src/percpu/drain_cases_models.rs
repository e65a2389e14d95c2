#![forbid(unsafe_code)]
//! What meets in the model of the slot protocol: each case sound as it is, and caught where a step is left out.

use super::{CAPACITY, Cpu, Wrong, model};
use crate::sync::Bug;

const ME: usize = 1;
const NEIGHBOUR: usize = 2;

fn frees(cpu: &Cpu) -> Vec<u32> {
    cpu.free(ME, 8);
    vec![]
}

fn allocates(cpu: &Cpu) -> Vec<u32> {
    cpu.alloc(ME).into_iter().chain([8]).collect()
}

fn frees_and_allocates(cpu: &Cpu) -> Vec<u32> {
    cpu.free(ME, 8);
    cpu.alloc(ME).into_iter().collect()
}

fn neighbour_allocates(cpu: &Cpu) -> Vec<u32> {
    cpu.alloc(NEIGHBOUR).into_iter().collect()
}

/// The first steps of a slow allocation, and no others.
fn swaps_and_allocates(cpu: &Cpu) -> Vec<u32> {
    let taken = if cpu.swap(ME, 0) { cpu.pop(ME) } else { None };
    taken.into_iter().chain([8]).collect()
}

fn swaps_and_frees(cpu: &Cpu) -> Vec<u32> {
    if cpu.swap(ME, CAPACITY) && cpu.push(ME, 8) { vec![] } else { vec![8] }
}

/// As a child opens what the drainer left in its parent: with whatever was there.
fn drains_and_opens_as_it_was(cpu: &Cpu) -> Vec<u32> {
    if let Some(open) = cpu.drain() {
        cpu.reopen(open);
    }
    vec![]
}

fn neighbour_swaps(cpu: &Cpu) -> Vec<u32> {
    if cpu.swap(NEIGHBOUR, 0) { cpu.pop(NEIGHBOUR).into_iter().collect() } else { vec![] }
}

fn drains(cpu: &Cpu) -> Vec<u32> {
    cpu.flush();
    vec![]
}

fn forks(cpu: &Cpu) -> Vec<u32> {
    let (objects, sheaves) = cpu.fork().census(&[]);
    assert!(objects.windows(2).all(|pair| pair[0] < pair[1]), "the child has an object twice: {objects:?}");
    assert!(sheaves.windows(2).all(|pair| pair[0] < pair[1]), "the child has a sheaf twice: {sheaves:?}");
    vec![]
}

fn drain_against_alloc(wrong: Wrong) {
    model(None, wrong, (1, 1), [allocates, drains]);
}

fn opening_against_swap(wrong: Wrong) {
    model(Some(3), wrong, (0, 2), [swaps_and_allocates, drains_and_opens_as_it_was]);
    model(Some(3), wrong, (2, 1), [swaps_and_frees, drains_and_opens_as_it_was]);
}

fn drain_against_swap(wrong: Wrong) {
    model(Some(4), wrong, (0, 2), [allocates, drains]);
}

#[test]
fn loom_drain_against_alloc() {
    drain_against_alloc(Wrong::Nothing);
}

#[test]
fn loom_drain_against_free() {
    model(None, Wrong::Nothing, (1, 1), [frees, drains]);
}

#[test]
fn loom_drain_against_free_to_a_full_sheaf() {
    model(None, Wrong::Nothing, (2, 0), [frees, drains]);
}

#[test]
fn loom_drain_against_swap_of_the_pair() {
    drain_against_swap(Wrong::Nothing);
}

#[test]
fn loom_drain_against_swap_by_one_sequence() {
    model(None, Wrong::Nothing, (0, 2), [swaps_and_allocates, drains]);
    model(None, Wrong::Nothing, (2, 1), [swaps_and_frees, drains]);
}

#[test]
fn loom_drain_against_swap_with_a_neighbour() {
    model(Some(2), Wrong::Nothing, (0, 1), [swaps_and_allocates, neighbour_allocates, drains]);
    model(Some(2), Wrong::Nothing, (0, 1), [swaps_and_allocates, neighbour_swaps, drains]);
}

#[test]
fn loom_drain_opening_against_swap_by_one_sequence() {
    opening_against_swap(Wrong::Nothing);
}

#[test]
fn loom_drain_against_install_of_a_full_sheaf() {
    model(Some(4), Wrong::Nothing, (0, 0), [allocates, drains]);
}

#[test]
fn loom_drain_against_free_and_alloc() {
    model(Some(4), Wrong::Nothing, (0, 1), [frees_and_allocates, drains]);
}

#[test]
fn loom_drains_meet() {
    model(Some(2), Wrong::Nothing, (1, 1), [allocates, drains, drains]);
}

#[test]
fn loom_drain_against_two_threads_of_the_cpu() {
    model(Some(2), Wrong::Nothing, (1, 1), [frees_and_allocates, neighbour_allocates, drains]);
}

#[test]
fn loom_drain_two_threads_of_a_cpu_without_a_drain() {
    model(Some(4), Wrong::Nothing, (1, 1), [frees, neighbour_allocates]);
}

#[test]
fn loom_drain_and_a_fork_at_any_moment() {
    model(Some(2), Wrong::Nothing, (0, 2), [allocates, drains, forks]);
    model(Some(2), Wrong::Nothing, (1, 1), [frees, drains, forks]);
}

#[test]
#[should_panic(expected = "lost or doubled")]
fn loom_drain_against_alloc_catches_no_membarrier() {
    Bug::NoMembarrier.plant(|| drain_against_alloc(Wrong::Nothing));
}

#[test]
#[should_panic(expected = "lost or doubled")]
fn loom_drain_against_swap_catches_no_membarrier() {
    Bug::NoMembarrier.plant(|| drain_against_swap(Wrong::Nothing));
}

#[test]
#[should_panic(expected = "lost or doubled")]
fn loom_drain_against_swap_by_one_sequence_catches_no_membarrier() {
    Bug::NoMembarrier.plant(|| model(None, Wrong::Nothing, (0, 2), [swaps_and_allocates, drains]));
}

#[test]
#[should_panic(expected = "lost or doubled")]
fn loom_drain_opening_against_swap_catches_a_stopped_main_swapped() {
    opening_against_swap(Wrong::SwapsStopped);
}

#[test]
#[should_panic]
fn loom_drain_against_alloc_catches_one_round() {
    drain_against_alloc(Wrong::OneRound);
}

#[test]
#[should_panic]
fn loom_drain_against_alloc_catches_the_whole_pair_kept() {
    drain_against_alloc(Wrong::WholePair);
}

#[test]
#[should_panic(expected = "the child has an object twice")]
fn loom_drain_and_a_fork_catches_a_flush_before_the_note() {
    model(Some(2), Wrong::NotSettled, (1, 1), [frees, drains, forks]);
}
