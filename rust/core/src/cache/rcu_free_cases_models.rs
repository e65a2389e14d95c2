#![forbid(unsafe_code)]
//! What meets in the model of the hand-over: each case sound as it is, and caught where a step is left out.

use super::{Cache, Wrong, model};
use crate::sync::Bug;

/// Takes its object away from the readers and frees it.
fn frees(cache: &Cache, me: usize) {
    cache.step(|state| state.published = None);
    cache.free_rcu(me, 9);
}

fn frees_another(cache: &Cache, me: usize) {
    cache.free_rcu(me, 8);
}

/// Looks up what is published, and again as long as its section lasts.
fn reads(cache: &Cache, me: usize) {
    cache.read_lock(me);
    let seen = cache.step(|state| state.published);
    for _ in 0..2 {
        cache.step(|state| {
            let reused = seen.is_some_and(|seen| state.free.contains(&seen));
            assert!(!reused, "an object is free that a reader looks at");
        });
    }
    cache.read_unlock(me);
}

/// What was given before must be free: 1, which the slot had at the beginning.
fn waits(cache: &Cache, _: usize) {
    cache.barrier(None);
    cache.step(|state| assert!(state.free.contains(&1), "a barrier missed an object"));
}

/// The same on the slot's CPU.
fn waits_here(cache: &Cache, me: usize) {
    cache.barrier(Some(me));
    cache.step(|state| assert!(state.free.contains(&1), "a barrier missed an object"));
}

/// The service thread's round.
fn ages(cache: &Cache, _: usize) {
    drop(cache.hand_over(None));
    cache.reclaim();
}

fn barrier_against_a_full_sheaf(wrong: Wrong) {
    model(Some(5), wrong, 2, &[9], [frees, waits]);
}

fn barrier_against_a_push(wrong: Wrong) {
    model(Some(5), wrong, 1, &[9], [frees, waits]);
}

fn reader_against_reclaim() {
    model(Some(3), Wrong::Nothing, 1, &[9], [frees, reads, ages]);
}

fn drains_meet(wrong: Wrong) {
    model(Some(3), wrong, 1, &[9], [frees, ages, waits]);
}

#[test]
fn loom_free_rcu_barrier_against_a_push() {
    barrier_against_a_push(Wrong::Nothing);
}

#[test]
fn loom_free_rcu_barrier_against_a_full_sheaf() {
    barrier_against_a_full_sheaf(Wrong::Nothing);
}

#[test]
fn loom_free_rcu_barrier_against_two_threads_of_the_cpu() {
    model(Some(3), Wrong::Nothing, 2, &[8, 9], [frees, frees_another, waits]);
}

#[test]
fn loom_free_rcu_barrier_on_the_cpu_against_a_push() {
    model(Some(5), Wrong::Nothing, 1, &[9], [frees, waits_here]);
}

#[test]
fn loom_free_rcu_barrier_on_the_cpu_against_a_full_sheaf() {
    model(Some(5), Wrong::Nothing, 2, &[9], [frees, waits_here]);
}

#[test]
fn loom_free_rcu_barriers_here_and_there_meet() {
    model(Some(3), Wrong::Nothing, 1, &[9], [frees, waits, waits_here]);
}

#[test]
#[should_panic(expected = "lost or doubled")]
fn loom_free_rcu_catches_a_take_without_a_sequence() {
    model(Some(5), Wrong::NoSequence, 1, &[9], [frees, waits_here]);
}

#[test]
fn loom_free_rcu_reader_against_reclaim() {
    reader_against_reclaim();
}

#[test]
fn loom_free_rcu_reader_against_a_barrier() {
    model(Some(3), Wrong::Nothing, 2, &[9], [frees, reads, waits]);
}

#[test]
fn loom_free_rcu_drains_meet() {
    drains_meet(Wrong::Nothing);
}

#[test]
fn loom_free_rcu_barriers_meet() {
    model(Some(3), Wrong::Nothing, 2, &[9], [frees, waits, waits]);
}

#[test]
#[should_panic(expected = "a barrier missed an object")]
fn loom_free_rcu_catches_a_queue_outside_of_the_section() {
    barrier_against_a_full_sheaf(Wrong::QueueOutside);
}

#[test]
#[should_panic(expected = "a barrier missed an object")]
fn loom_free_rcu_catches_no_second_look() {
    barrier_against_a_full_sheaf(Wrong::NoSecondLook);
}

#[test]
#[should_panic(expected = "a barrier missed an object")]
fn loom_free_rcu_catches_a_late_count() {
    barrier_against_a_full_sheaf(Wrong::LateCount);
}

#[test]
#[should_panic(expected = "an object is free that a reader looks at")]
fn loom_free_rcu_catches_a_reclaim_before_the_grace_period() {
    Bug::EarlyReclaim.plant(reader_against_reclaim);
}

#[test]
#[should_panic(expected = "lost or doubled")]
fn loom_free_rcu_catches_no_membarrier() {
    Bug::NoMembarrier.plant(|| barrier_against_a_push(Wrong::Nothing));
}

#[test]
#[should_panic]
fn loom_free_rcu_catches_one_round() {
    barrier_against_a_push(Wrong::OneRound);
}

#[test]
#[should_panic]
fn loom_free_rcu_catches_drains_without_the_lock() {
    drains_meet(Wrong::NoLock);
}
