//! Models of the turnstile: a visitor against one who wants to be alone, on an own seat and on a shared one.
#![forbid(unsafe_code)]

use super::super::seat::OWN;
use super::*;
use crate::sync::Bug;
use loom::cell::Cell;
use loom::sync::Arc;
use loom::thread;

const CLOSED: u64 = 1;

struct NoKernel;

impl Platform for NoKernel {
    fn register() -> bool {
        false
    }
    fn fence_everybody() {}
}

struct World {
    gate: Turnstile,
    sides: Sides,
    /// Changed by visits, and by whoever is alone: loom fails where the two meet.
    inside: Cell<u32>,
}

fn visits_and_end(seat: usize) {
    loom::model(move || {
        let world = Arc::new(World { gate: Turnstile::empty(), sides: Sides::new(), inside: Cell::new(0) });
        let visitor = {
            let world = world.clone();
            thread::spawn(move || {
                let visit = || {
                    world.inside.set(world.inside.get() + 1);
                    ((), true)
                };
                world.gate.pass_at(Seat::new(seat), &world.sides, Kind::Enter, visit).is_some()
            })
        };
        world.gate.change(CLOSED, 0);
        while !world.gate.is_empty_for::<NoKernel>(&world.sides) {
            thread::yield_now();
        }
        let seen = world.inside.get();
        world.inside.set(100);
        let passed = visitor.join().unwrap();
        assert_eq!(seen, u32::from(passed), "a visit that passed came before");
        assert_eq!(world.gate.done(), [u64::from(passed), 0]);
    });
}

fn own_seat() {
    visits_and_end(0);
}

fn shared_seat() {
    visits_and_end(OWN);
}

#[test]
fn loom_turnstile_own_seat() {
    own_seat();
}

#[test]
fn loom_turnstile_shared_seat() {
    shared_seat();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn loom_turnstile_catches_no_fence() {
    Bug::RcuNoFence.plant(own_seat);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn loom_turnstile_catches_no_barrier() {
    Bug::RcuNoMembarrier.plant(own_seat);
}
