#![forbid(unsafe_code)]
//! Models of the graveyard under loom: slabs that die while others pop their tombstones, reap them, or still read them.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p haybarn --release --lib loom_grave`. Unbounded unless a model says otherwise.

use super::super::modelling::*;
use super::super::testing::{Death, Object, Size, World};
use crate::sync::Bug;

fn frees_then_reaps(world: &World, hand: Vec<Object>) -> Vec<Object> {
    world.free(hand);
    world.reap();
    vec![]
}

fn frees_reaps_refills_one(world: &World, hand: Vec<Object>) -> Vec<Object> {
    world.free(hand);
    world.reap();
    world.refill(1)
}

fn reaps(world: &World, hand: Vec<Object>) -> Vec<Object> {
    world.reap();
    hand
}

fn shrinks_then_reaps(world: &World, hand: Vec<Object>) -> Vec<Object> {
    let _died = world.shrink();
    world.reap();
    hand
}

/// What every user of a type-safe cache does: first nobody can find the object any more, then it is freed.
fn hides_frees_reaps(world: &World, hand: Vec<Object>) -> Vec<Object> {
    world.show(None);
    frees_then_reaps(world, hand)
}

fn hides_frees_reaps_refills_one(world: &World, hand: Vec<Object>) -> Vec<Object> {
    world.show(None);
    frees_reaps_refills_one(world, hand)
}

fn hides_frees_shrinks_reaps(world: &World, hand: Vec<Object>) -> Vec<Object> {
    world.show(None);
    world.free(hand);
    shrinks_then_reaps(world, vec![])
}

fn reads(world: &World, hand: Vec<Object>) -> Vec<Object> {
    world.read();
    hand
}

fn reads_then_reaps(world: &World, hand: Vec<Object>) -> Vec<Object> {
    world.read();
    world.reap();
    hand
}

/// A listed slab of two objects: the first thread has one, which readers can find; the other is free.
fn one_shown(world: &World) -> [Vec<Object>; 2] {
    let hand = world.new_slab(1).expect("room");
    world.show(hand.first());
    [hand, vec![]]
}

fn after_destructors(size: Size) -> Size {
    Size { death: Death::AfterDestructors, ..size }
}

fn after_readers(size: Size) -> Size {
    Size { death: Death::AfterReaders, ..size }
}

/// The tombstone is popped while the pages wait, before, or afterwards.
fn kill_against_pop() {
    let size = after_destructors(size(2, 2, 2, MORTAL));
    Model { preemptions: None, size, deal: half_free, works: [frees_then_reaps, refills_one] }.run();
}

#[test]
fn loom_grave_kill_against_pop() {
    kill_against_pop();
}

/// The only page and the descriptor serve the next slab at once.
fn reuse_after_death() {
    let size = after_destructors(size(2, 1, 2, MORTAL));
    Model { preemptions: Some(3), size, deal: half_free, works: [frees_reaps_refills_one, refills_one] }.run();
}

#[test]
fn loom_grave_reuse_after_death() {
    reuse_after_death();
}

/// The one that kills is not the one that ends the dead.
#[test]
fn loom_grave_reaper_of_another_thread() {
    let size = after_destructors(size(2, 1, 2, MORTAL));
    Model { preemptions: None, size, deal: half_free, works: [frees, reaps] }.run();
}

#[test]
fn loom_grave_reapers_meet() {
    let size = after_destructors(size(2, 2, 2, MORTAL));
    Model { preemptions: Some(4), size, deal: two_half_free, works: [frees_then_reaps, frees_then_reaps] }.run();
}

#[test]
fn loom_grave_shrink_against_refill() {
    let deal = |world: &World| {
        world.new_slab(0).expect("room");
        [vec![], vec![]]
    };
    let size = after_destructors(size(2, 2, 2, IMMORTAL));
    Model { preemptions: None, size, deal, works: [refills_one, shrinks_then_reaps] }.run();
}

#[test]
fn loom_grave_shrink_against_kill() {
    let size = after_destructors(size(2, 1, 2, MORTAL));
    Model { preemptions: Some(4), size, deal: half_free, works: [frees, shrinks_then_reaps] }.run();
}

/// No room: the slab stays, wholly free, and serves on.
#[test]
fn loom_grave_without_room() {
    let size = Size { room: 0, ..after_destructors(size(1, 1, 2, MORTAL)) };
    Model { preemptions: None, size, deal: half_free, works: [frees, refills_one] }.run();
}

fn kill_against_reader() {
    let size = after_readers(size(2, 1, 2, MORTAL));
    Model { preemptions: None, size, deal: one_shown, works: [hides_frees_reaps, reads] }.run();
}

#[test]
fn loom_grave_kill_against_reader() {
    kill_against_reader();
}

fn shrink_against_reader() {
    let size = after_readers(size(2, 1, 2, IMMORTAL));
    Model { preemptions: None, size, deal: one_shown, works: [hides_frees_shrinks_reaps, reads] }.run();
}

#[test]
fn loom_grave_shrink_against_reader() {
    shrink_against_reader();
}

/// A slab that is not ripe goes back to those that wait, and whoever comes next ends it.
#[test]
fn loom_grave_unripe_against_reaper() {
    let size = after_readers(size(2, 1, 2, MORTAL));
    Model { preemptions: Some(4), size, deal: one_shown, works: [hides_frees_reaps, reads_then_reaps] }.run();
}

#[test]
fn loom_grave_kill_pop_and_read_three_threads() {
    let size = after_readers(size(2, 1, 2, MORTAL));
    let deal = |world: &World| {
        let [hand, none] = one_shown(world);
        [hand, none, vec![]]
    };
    Model { preemptions: Some(2), size, deal, works: [hides_frees_reaps_refills_one, harvests_one, reads] }.run();
}

#[test]
fn loom_grave_kill_pop_and_reap_three_threads() {
    let size = after_destructors(size(2, 1, 2, MORTAL));
    let deal = |world: &World| [world.new_slab(1).expect("room"), vec![], vec![]];
    Model { preemptions: Some(3), size, deal, works: [frees, refills_one, reaps] }.run();
}

#[test]
#[should_panic]
fn loom_grave_kill_against_pop_catches_recycling_by_the_first() {
    Bug::RecycleByFirst.plant(kill_against_pop);
}

#[test]
#[should_panic]
fn loom_grave_reuse_after_death_catches_recycling_by_the_first() {
    Bug::RecycleByFirst.plant(reuse_after_death);
}

#[test]
#[should_panic]
fn loom_grave_kill_against_reader_catches_pages_before_the_grace_period() {
    Bug::NoGracePeriod.plant(kill_against_reader);
}

#[test]
#[should_panic]
fn loom_grave_shrink_against_reader_catches_pages_before_the_grace_period() {
    Bug::NoGracePeriod.plant(shrink_against_reader);
}
