//! A model of a seat that goes from one thread to the next with what lies on its stack.
#![forbid(unsafe_code)]

use super::super::seat::Seats;
use super::*;
use crate::sync::Bug;
use loom::cell::Cell;
use loom::sync::Arc;
use loom::thread;

struct World {
    seats: Seats,
    kept: Kept,
    /// What the pointer stands for: loom fails where two threads meet at it.
    shell: Cell<u32>,
}

/// Uses the shell if it is kept here, or if there is none yet and this thread is to make it, and keeps it again.
fn call(world: &World, makes: bool) -> bool {
    let Some(seat) = world.seats.claim() else { return false };
    let found = world.kept.take(seat).or_else(|| makes.then(NonNull::dangling));
    if let Some(shell) = found {
        world.shell.set(world.shell.get() + 1);
        assert!(world.kept.keep(seat, shell));
    }
    world.seats.give(seat);
    found.is_some()
}

fn hand_over() {
    loom::model(|| {
        let world = Arc::new(World { seats: Seats::new(), kept: Kept::new(), shell: Cell::new(0) });
        assert!(call(&world, true));
        let others: Vec<_> = (0..2)
            .map(|_| {
                let world = world.clone();
                thread::spawn(move || u32::from(call(&world, false)) + u32::from(call(&world, false)))
            })
            .collect();
        let uses: u32 = others.into_iter().map(|other| other.join().unwrap()).sum();
        assert!(uses >= 2, "whoever finds the seat free finds the shell");
        assert_eq!(world.shell.get(), 1 + uses);
    });
}

#[test]
fn loom_kept_goes_with_the_seat() {
    hand_over();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn loom_kept_catches_a_seat_that_releases_nothing() {
    Bug::WeakGive.plant(hand_over);
}
