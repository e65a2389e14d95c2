//! Models of the tagged stack under loom: nothing is lost, nothing is doubled, and who takes an entry sees all that its last
//! owner wrote. Each claim is shown to fail on a planted bug.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p haybarn --release --lib loom_`.

use super::*;
use loom::cell::Cell;
use loom::sync::Arc;
use loom::thread;

const FORM: Form = Form::Packed;

/// A stack, and what its entries stand for: memory that belongs to whoever holds the entry. Loom reports every access to
/// it that races.
struct World {
    stack: TaggedStack,
    links: Vec<Link>,
    payload: Vec<Cell<u32>>,
}

impl Links for World {
    fn link(&self, index: Index) -> &Link {
        &self.links[index as usize]
    }
}

impl World {
    /// `entries` entries, all on the stack but the last `held`; entry n lies under entry n + 1.
    fn new(entries: u32, held: u32) -> Arc<Self> {
        let links = (0..=entries).map(|_| Link::new()).collect();
        let payload = (0..=entries).map(Cell::new).collect();
        let world = Self { stack: TaggedStack::new(FORM), links, payload };
        for entry in 1..=entries - held {
            world.stack.push(FORM, &world, entry);
        }
        Arc::new(world)
    }

    /// What an owner does with its entry.
    fn touch(&self, entry: Index) {
        self.payload[entry as usize].set(self.payload[entry as usize].get());
    }

    fn push(&self, entry: Index) {
        self.touch(entry);
        self.stack.push(FORM, self, entry);
    }

    fn pop(&self) -> Option<Index> {
        let entry = self.stack.pop(FORM, self)?;
        self.touch(entry);
        Some(entry)
    }

    fn pop_batch(&self, most: usize) -> Vec<Index> {
        let mut out = vec![0; most];
        let taken = self.stack.pop_batch(FORM, self, &mut out);
        out.truncate(taken);
        out.iter().for_each(|&entry| self.touch(entry));
        out
    }

    /// At the end: what the threads hold and what is on the stack is every entry once.
    fn check(&self, held: impl IntoIterator<Item = Index>) {
        let mut all: Vec<_> = held.into_iter().chain(core::iter::from_fn(|| self.pop())).collect();
        all.sort_unstable();
        let every: Vec<_> = (1..self.links.len() as u32).collect();
        assert_eq!(all, every, "an entry was lost or doubled");
        assert_eq!(self.stack.len(FORM), 0);
    }
}

type Work = fn(&World) -> Vec<Index>;

/// Runs `works` at the same time, in every order that has at most `preemptions`.
fn model<const N: usize>(preemptions: Option<usize>, entries: u32, held: u32, works: [Work; N]) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(move || {
        let world = World::new(entries, held);
        let others: Vec<_> = works[1..]
            .iter()
            .map(|&work| {
                let world = world.clone();
                thread::spawn(move || work(&world))
            })
            .collect();
        let mut kept = works[0](&world);
        for other in others {
            kept.extend(other.join().expect("no panic"));
        }
        world.check(kept);
    });
}

fn pops_one(world: &World) -> Vec<Index> {
    world.pop().into_iter().collect()
}

fn pops_two_and_returns_the_first(world: &World) -> Vec<Index> {
    let (first, second) = (world.pop(), world.pop());
    first.into_iter().for_each(|entry| world.push(entry));
    second.into_iter().collect()
}

fn hand_over() {
    model(
        None,
        1,
        1,
        [
            |world| {
                world.push(1);
                vec![]
            },
            pops_one,
        ],
    );
}

fn reuse_under_a_paused_pop() {
    model(None, 3, 0, [pops_one, pops_two_and_returns_the_first]);
}

#[test]
fn loom_stack_hands_over_what_was_written() {
    hand_over();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn loom_stack_hand_over_catches_weak_release() {
    Bug::WeakRelease.plant(hand_over);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn loom_stack_hand_over_catches_weak_acquire() {
    Bug::WeakAcquire.plant(hand_over);
}

#[test]
fn loom_stack_pop_survives_reuse_of_the_top() {
    reuse_under_a_paused_pop();
}

#[test]
#[should_panic]
fn loom_stack_reuse_of_the_top_catches_no_tag() {
    Bug::NoTag.plant(reuse_under_a_paused_pop);
}

#[test]
fn loom_stack_pushes_meet() {
    model(
        None,
        3,
        2,
        [
            |world| {
                world.push(2);
                vec![]
            },
            |world| {
                world.push(3);
                vec![]
            },
        ],
    );
}

#[test]
fn loom_stack_pops_meet() {
    model(None, 2, 0, [pops_one, pops_one]);
}

#[test]
fn loom_stack_batch_against_pop_and_push() {
    model(None, 3, 0, [|world| world.pop_batch(2), pops_two_and_returns_the_first]);
}

#[test]
fn loom_stack_batches_meet() {
    model(None, 3, 0, [|world| world.pop_batch(2), |world| world.pop_batch(2)]);
}

#[test]
fn loom_stack_chain_against_batch() {
    let chain: Work = |world| {
        world.touch(2);
        world.touch(3);
        TaggedStack::chain(world, 3, 2);
        world.stack.push_chain(FORM, world, 3, 2, 2);
        vec![]
    };
    model(None, 3, 2, [chain, |world| world.pop_batch(3)]);
}

#[test]
fn loom_stack_pop_until_against_push() {
    let until: Work = |world| {
        let mut out = [0; 3];
        let taken = world.stack.pop_until(FORM, world, &mut out, || |entry| entry == 2);
        out[..taken].iter().for_each(|&entry| world.touch(entry));
        out[..taken].to_vec()
    };
    model(
        None,
        3,
        1,
        [until, |world| {
            world.push(3);
            vec![]
        }],
    );
}

#[test]
fn loom_stack_three_threads() {
    model(
        Some(3),
        3,
        1,
        [pops_one, pops_two_and_returns_the_first, |world| {
            world.push(3);
            vec![]
        }],
    );
}
