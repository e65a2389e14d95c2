#![forbid(unsafe_code)]
//! Models of a barn under loom: sheaves go from hand to hand with what is in them, none is lost or doubled, and no full one
//! comes out as empty.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p haybarn --release --lib loom_`.

use super::*;
use crate::sync::{Bug, Link};
use loom::cell::Cell;
use loom::sync::Arc;
use loom::thread;

const FORM: Form = Form::Packed;
const SHEAVES: u32 = 3;

/// A barn, its sheaves' links, and how many objects are in each: a cell that loom watches.
struct World {
    barn: Barn,
    links: Vec<Link>,
    levels: Vec<Cell<u32>>,
}

impl Links for World {
    fn link(&self, index: Index) -> &Link {
        &self.links[index as usize]
    }
}

impl World {
    /// Sheaf 1 lies full in the barn, sheaf 2 empty; 3 is in a hand, full.
    fn new() -> Arc<Self> {
        let links = (0..=SHEAVES).map(|_| Link::new()).collect();
        let world = Self { barn: Barn::new(FORM), links, levels: [0, 4, 0, 4].into_iter().map(Cell::new).collect() };
        world.barn.put_full(FORM, &world, 1);
        world.barn.put_empty(FORM, &world, 2);
        Arc::new(world)
    }

    fn put(&self, sheaf: Index, level: u32) {
        self.levels[sheaf as usize].set(level);
        match level {
            0 => self.barn.put_empty(FORM, self, sheaf),
            _ => self.barn.put_full(FORM, self, sheaf),
        }
    }

    fn get_full(&self) -> Option<Index> {
        let sheaf = self.barn.get_full(FORM, self)?;
        assert_eq!(self.levels[sheaf as usize].replace(0), 4, "an empty sheaf among the full ones");
        Some(sheaf)
    }

    fn get_two_full(&self) -> [Option<Index>; 2] {
        let sheaves = self.barn.get_two_full(FORM, self);
        for sheaf in sheaves.into_iter().flatten() {
            assert_eq!(self.levels[sheaf as usize].replace(0), 4, "an empty sheaf among the full ones");
        }
        sheaves
    }

    fn get_empty(&self) -> Option<Index> {
        let sheaf = self.barn.get_empty(FORM, self)?;
        assert_eq!(self.levels[sheaf as usize].replace(4), 0, "a full sheaf among the empty ones");
        Some(sheaf)
    }

    fn get_two_empty(&self) -> [Option<Index>; 2] {
        let sheaves = self.barn.get_two_empty(FORM, self);
        for sheaf in sheaves.into_iter().flatten() {
            assert_eq!(self.levels[sheaf as usize].replace(4), 0, "a full sheaf among the empty ones");
        }
        sheaves
    }

    fn check(&self, mut held: Vec<Index>) {
        held.extend(core::iter::from_fn(|| self.get_full()));
        held.extend(core::iter::from_fn(|| self.get_empty()));
        held.sort_unstable();
        assert_eq!(held, [1, 2, 3], "a sheaf was lost or doubled");
        assert_eq!((self.barn.full(FORM), self.barn.empty(FORM)), (0, 0));
    }
}

/// An allocation that found nothing on its CPU: a full sheaf out, the empty one in.
fn allocates(world: &World) -> Vec<Index> {
    let Some(sheaf) = world.get_full() else { return vec![] };
    world.put(sheaf, 0);
    vec![]
}

/// An allocation that found main and spare empty: full sheaves out, as many empty ones in.
fn allocates_two(world: &World) -> Vec<Index> {
    match world.get_two_full() {
        [Some(first), Some(second)] => {
            [first, second].iter().for_each(|&sheaf| world.levels[sheaf as usize].set(0));
            world.barn.put_two_empty(FORM, world, [first, second]);
        }
        [Some(sheaf), None] => world.put(sheaf, 0),
        _ => {}
    }
    vec![]
}

/// Sheaf 3 comes to the barn full, then two are taken.
fn puts_and_allocates_two(world: &World) -> Vec<Index> {
    world.put(3, 4);
    allocates_two(world)
}

fn keeps_and_allocates(world: &World) -> Vec<Index> {
    allocates(world);
    vec![3]
}

/// A free that found everything full: the full sheaf 3 in, an empty one out.
fn frees(world: &World) -> Vec<Index> {
    let Some(empty) = world.get_empty() else { return vec![3] };
    world.put(3, 4);
    vec![empty]
}

/// As [`frees`], of a sheaf from the barn, which is empty by then.
fn frees_one(world: &World) -> Vec<Index> {
    if let Some(empty) = world.get_empty() {
        world.put(empty, 4);
    }
    vec![]
}

/// A shrink: all full ones out, and back as empty.
fn empties(world: &World) -> Vec<Index> {
    let full: Vec<_> = core::iter::from_fn(|| world.get_full()).take(2).collect();
    full.iter().for_each(|&sheaf| world.put(sheaf, 0));
    vec![]
}

/// Sheaf 3 comes to the barn empty, then frees that filled main and spare bring two full ones and take two empty ones.
fn puts_and_frees_two(world: &World) -> Vec<Index> {
    world.put(3, 0);
    match world.get_two_empty() {
        [Some(first), Some(second)] => {
            [first, second].iter().for_each(|&sheaf| world.levels[sheaf as usize].set(4));
            world.barn.put_two_full(FORM, world, [first, second]);
        }
        [Some(sheaf), None] => world.put(sheaf, 4),
        _ => {}
    }
    vec![]
}

type Work = fn(&World) -> Vec<Index>;

/// Sheaf 3 is the first thread's.
fn model<const N: usize>(preemptions: Option<usize>, works: [Work; N]) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(move || {
        let world = World::new();
        let others = works.into_iter().skip(1).map(|work| {
            let world = world.clone();
            thread::spawn(move || work(&world))
        });
        let others: Vec<_> = others.collect();
        let mut held = works[0](&world);
        for other in others {
            held.extend(other.join().expect("no panic"));
        }
        world.check(held);
    });
}

fn full_and_empty() {
    model(None, [frees, allocates]);
}

#[test]
fn loom_barn_full_and_empty_change_hands() {
    full_and_empty();
}

#[test]
fn loom_barn_allocations_meet() {
    model(None, [keeps_and_allocates, allocates]);
}

#[test]
fn loom_barn_two_at_a_time() {
    model(None, [puts_and_allocates_two, allocates]);
    model(Some(3), [frees, allocates_two, allocates_two]);
    model(None, [puts_and_frees_two, allocates]);
    model(Some(3), [puts_and_frees_two, allocates_two, frees_one]);
}

#[test]
fn loom_barn_emptied_under_load() {
    model(Some(3), [frees, allocates, empties]);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn loom_barn_catches_weak_release() {
    Bug::WeakRelease.plant(full_and_empty);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn loom_barn_catches_weak_acquire() {
    Bug::WeakAcquire.plant(full_and_empty);
}
