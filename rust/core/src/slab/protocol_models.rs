//! Models of the slab protocol under loom: two or three threads that free, take, kill, bury, shrink and make slabs in every
//! order. A model fails when an object or a descriptor is lost or doubled, when a page is released twice, or when anybody
//! touches a page, an object or a descriptor's plain fields without having got it properly.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p haybarn --release --lib loom_`. Unbounded unless a model says otherwise.

use super::super::modelling::*;
use super::super::testing::{Object, World};
use crate::sync::Bug;

#[test]
fn loom_slab_free_against_free() {
    Model { preemptions: None, size: size(1, 1, 2, IMMORTAL), deal: one_each, works: [frees, frees] }.run();
}

fn kill_against_push() {
    Model { preemptions: None, size: size(2, 2, 2, MORTAL), deal: one_each, works: [frees, frees_then_refills_one] }
        .run();
}

#[test]
fn loom_slab_kill_against_push() {
    kill_against_push();
}

fn kill_against_pop() {
    Model { preemptions: None, size: size(2, 2, 2, MORTAL), deal: half_free, works: [frees, refills_one] }.run();
}

#[test]
fn loom_slab_kill_against_pop() {
    kill_against_pop();
}

/// The page and the descriptor of the dead slab serve the next one at once, while the other thread may still hold the old
/// descriptor's index.
fn reuse_after_death(preemptions: Option<usize>, second: Work) {
    let works: [Work; 2] = [frees_then_refills_one, second];
    Model { preemptions, size: size(2, 1, 2, MORTAL), deal: half_free, works }.run();
}

#[test]
fn loom_slab_reuse_after_death_against_harvest() {
    reuse_after_death(None, harvests_one);
}

#[test]
fn loom_slab_reuse_after_death_against_refill() {
    reuse_after_death(Some(3), refills_one);
}

#[test]
fn loom_slab_give_back_against_free() {
    let deal = |world: &World| [vec![], world.new_slab(1).expect("room")];
    Model { preemptions: None, size: size(1, 1, 3, IMMORTAL), deal, works: [refills_one, frees] }.run();
}

#[test]
fn loom_slab_give_back_against_kill() {
    let deal = |world: &World| [vec![], world.new_slab(1).expect("room")];
    let works: [Work; 2] = [|world, _| frees(world, world.harvest(1)), frees];
    Model { preemptions: Some(4), size: size(2, 1, 3, MORTAL), deal, works }.run();
}

#[test]
fn loom_slab_chain_against_free() {
    let deal = |world: &World| {
        let mut all = world.new_slab(3).expect("room");
        let third = all.split_off(2);
        [all, third]
    };
    Model { preemptions: None, size: size(1, 1, 3, MORTAL), deal, works: [frees, frees] }.run();
}

#[test]
fn loom_slab_batch_pop_against_kill() {
    Model { preemptions: None, size: size(2, 2, 2, MORTAL), deal: two_half_free, works: [harvests_two, frees] }.run();
}

#[test]
fn loom_slab_batch_pops_meet() {
    let works: [Work; 2] = [harvests_two, harvests_two];
    Model { preemptions: None, size: size(2, 2, 2, IMMORTAL), deal: two_half_free, works }.run();
}

/// A free makes the batch's first slab suffice: the others of the batch go back.
#[test]
fn loom_slab_surplus_of_a_batch() {
    let works: [Work; 2] = [harvests_two, frees_then_refills_one];
    Model { preemptions: Some(4), size: size(2, 2, 2, IMMORTAL), deal: two_half_free, works }.run();
}

#[test]
fn loom_slab_publish_against_harvest() {
    let works: [Work; 2] = [|world, _| world.new_slab(1).expect("room"), harvests_two];
    Model { preemptions: None, size: size(1, 1, 3, IMMORTAL), deal: |_| [vec![], vec![]], works }.run();
}

#[test]
fn loom_slab_shrink_against_free() {
    Model { preemptions: None, size: size(2, 1, 2, MORTAL), deal: half_free, works: [frees, shrinks] }.run();
}

#[test]
fn loom_slab_shrink_against_refill() {
    let deal = |world: &World| {
        world.new_slab(0).expect("room");
        [vec![], vec![]]
    };
    Model { preemptions: None, size: size(2, 2, 2, IMMORTAL), deal, works: [refills_one, shrinks] }.run();
}

#[test]
fn loom_slab_shrinks_meet() {
    let deal = |world: &World| {
        world.new_slab(0).expect("room");
        [vec![], world.new_slab(1).expect("room")]
    };
    Model { preemptions: Some(4), size: size(2, 2, 2, IMMORTAL), deal, works: [shrinks, shrinks] }.run();
}

#[test]
fn loom_slab_kill_against_pop_three_threads() {
    let deal = |world: &World| {
        let mut all = world.new_slab(2).expect("room");
        let second = all.split_off(1);
        [all, second, vec![]]
    };
    Model { preemptions: Some(3), size: size(2, 2, 2, MORTAL), deal, works: [frees, frees, refills_one] }.run();
}

#[test]
fn loom_slab_reuse_three_threads() {
    let deal = |world: &World| [world.new_slab(1).expect("room"), vec![], vec![]];
    let works: [Work; 3] = [frees_then_refills_one, harvests_one, harvests_one];
    Model { preemptions: Some(2), size: size(2, 1, 2, MORTAL), deal, works }.run();
}

#[test]
fn loom_slab_shrink_three_threads() {
    let deal = |world: &World| [world.new_slab(1).expect("room"), vec![], vec![]];
    Model { preemptions: Some(3), size: size(2, 2, 2, MORTAL), deal, works: [frees, refills_one, shrinks] }.run();
}

#[test]
fn loom_slab_frees_one_by_one_three_threads() {
    let deal = |world: &World| {
        let mut all = world.new_slab(3).expect("room");
        let third = all.split_off(2);
        [all, third, vec![]]
    };
    Model { preemptions: Some(3), size: size(2, 2, 3, MORTAL), deal, works: [frees_one_by_one, frees, refills_one] }
        .run();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn loom_slab_kill_against_push_catches_weak_release() {
    Bug::WeakRelease.plant(kill_against_push);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn loom_slab_kill_against_push_catches_weak_acquire() {
    Bug::WeakAcquire.plant(kill_against_push);
}

#[test]
#[should_panic]
fn loom_slab_kill_against_pop_catches_reuse_while_listed() {
    Bug::ReuseListed.plant(kill_against_pop);
}

#[test]
#[should_panic]
fn loom_slab_reuse_after_death_catches_reuse_while_listed() {
    Bug::ReuseListed.plant(|| reuse_after_death(Some(3), refills_one));
}
