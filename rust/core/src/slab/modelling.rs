#![forbid(unsafe_code)]
//! What the models of the slab protocol and of the graveyard share: a world, dealt to two or three threads under loom.

use super::testing::{Death, Object, Size, World};
use crate::sync::Form;
use loom::sync::Arc;
use loom::thread;

/// One thread: what it does with the objects that it is dealt, and which it holds at the end.
pub type Work = fn(&World, Vec<Object>) -> Vec<Object>;

/// Slabs that become wholly free die at once.
pub const MORTAL: u64 = 0;
/// They stay.
pub const IMMORTAL: u64 = u64::MAX;

pub fn size(descriptors: u32, pages: u32, objects: u32, min_partial: u64) -> Size {
    Size { descriptors, pages, objects, min_partial, death: Death::AtOnce, room: u64::MAX }
}

pub struct Model<const N: usize> {
    /// Thread switches that are not forced; `None` is every interleaving.
    pub preemptions: Option<usize>,
    pub size: Size,
    /// What there is before the threads start, and what each of them is dealt.
    pub deal: fn(&World) -> [Vec<Object>; N],
    pub works: [Work; N],
}

impl<const N: usize> Model<N> {
    pub fn run(self) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = self.preemptions;
        builder.check(move || {
            let world = Arc::new(World::new(Form::Packed, self.size));
            let mut hands = (self.deal)(&world).into_iter().zip(self.works);
            let (mine, work) = hands.next().expect("one thread at least");
            let others: Vec<_> = hands
                .map(|(hand, work)| {
                    let world = world.clone();
                    thread::spawn(move || work(&world, hand))
                })
                .collect();
            let mut held = work(&world, mine);
            for other in others {
                held.extend(other.join().expect("no panic"));
            }
            world.check(held);
        });
    }
}

pub fn frees(world: &World, hand: Vec<Object>) -> Vec<Object> {
    world.free(hand);
    vec![]
}

pub fn frees_one_by_one(world: &World, hand: Vec<Object>) -> Vec<Object> {
    hand.into_iter().for_each(|object| world.free(vec![object]));
    vec![]
}

pub fn refills_one(world: &World, mut hand: Vec<Object>) -> Vec<Object> {
    hand.extend(world.refill(1));
    hand
}

pub fn harvests_one(world: &World, mut hand: Vec<Object>) -> Vec<Object> {
    hand.extend(world.harvest(1));
    hand
}

pub fn harvests_two(world: &World, mut hand: Vec<Object>) -> Vec<Object> {
    hand.extend(world.harvest(2));
    hand
}

pub fn frees_then_refills_one(world: &World, hand: Vec<Object>) -> Vec<Object> {
    world.free(hand);
    world.refill(1)
}

pub fn shrinks(world: &World, hand: Vec<Object>) -> Vec<Object> {
    let _died = world.shrink();
    hand
}

/// A slab whose objects are all in use: one for each of two threads.
pub fn one_each(world: &World) -> [Vec<Object>; 2] {
    let mut all = world.new_slab(2).expect("room");
    let second = all.split_off(1);
    [all, second]
}

/// A listed slab of two objects: the first thread has one, the other is free.
pub fn half_free(world: &World) -> [Vec<Object>; 2] {
    [world.new_slab(1).expect("room"), vec![]]
}

/// Two slabs with one free object each: two on the list, one in the hand of each thread.
pub fn two_half_free(world: &World) -> [Vec<Object>; 2] {
    [world.new_slab(1).expect("room"), world.new_slab(1).expect("room")]
}
