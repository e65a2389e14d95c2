//! Models of the state of a Python object: frees, bulk frees, `free_rcu`, buffers and the parked list against each other, and the end of
//! a callback's view. They are built and run with the core, `cargo test -p haybarn --release --lib loom_object_`.
//!
//! Whatever happens, an object goes back once: by a free, by the last of its buffers, from the parked list, or with its last reference,
//! which here is the end of the model. What goes back is written to at once, so loom fails where a buffer still looks into it: no
//! reader is there for which the core would wait.
#![forbid(unsafe_code)]

#[path = "state.rs"]
#[expect(unexpected_cfgs, reason = "the binding's build script knows them")]
#[allow(dead_code, reason = "what only the binding needs")]
mod state;

use haybarn::sync::{Bug, Counter};
use loom::cell::Cell;
use loom::sync::Arc;
use loom::thread;
use state::{Parked, Refusal, Retired, State};

/// An object and its wrapper.
struct Object {
    state: State,
    memory: Cell<u64>,
    given_back: Counter,
}

/// Two of them: parked by number, 1 or 2.
struct World {
    objects: [Object; 2],
    parked: Parked,
}

type Step = fn(&World);

impl World {
    fn new(views: [u64; 2]) -> Self {
        let object = |views| {
            let object = Object { state: State::live(), memory: Cell::new(0), given_back: Counter::new() };
            (0..views).for_each(|_| object.state.export().unwrap());
            object
        };
        Self { objects: views.map(object), parked: Parked::none() }
    }

    /// Hands over what is parked, all but what the core refuses once.
    fn hand_over_parked(&self, mut refuses: bool) {
        let mut next = self.parked.take();
        while next != 0 {
            let object = &self.objects[next as usize - 1];
            let number = std::mem::replace(&mut next, object.state.parked_before());
            if std::mem::take(&mut refuses) {
                self.parked.push(&object.state, number);
            } else {
                object.hand_over();
            }
        }
    }

    /// With nobody else there: the list is emptied, and the last references go.
    fn end(&self) {
        self.hand_over_parked(false);
        for object in &self.objects {
            if !object.state.is_freed() {
                object.give_back();
            }
            assert_eq!(object.given_back.get(), 1, "an object goes back once");
        }
    }
}

impl Object {
    /// The core has it from here on, and gives it to somebody who writes to it.
    fn give_back(&self) {
        self.memory.set(self.memory.get() + 1);
        self.given_back.add(1);
    }

    fn hand_over(&self) {
        self.give_back();
        self.state.free_claimed();
    }

    fn release(&self) {
        let _seen = self.memory.get();
        if self.state.unexport() {
            self.hand_over();
        }
    }
}

fn frees(world: &World) {
    let object = &world.objects[0];
    if object.state.free().is_ok() {
        object.give_back();
        assert_eq!(object.state.export(), Err(Refusal::Freed), "a freed object gets no new buffer");
    }
}

fn frees_many(world: &World) {
    let object = &world.objects[0];
    if object.state.claim().is_ok() {
        object.hand_over();
    }
}

/// There is something wrong with another object of the list.
fn frees_many_in_vain(world: &World) {
    let object = &world.objects[0];
    if object.state.claim().is_ok() {
        assert_eq!(object.state.claim(), Err(Refusal::Claimed));
        object.state.unclaim();
    }
}

fn views(world: &World) {
    let object = &world.objects[0];
    if object.state.export().is_ok() {
        object.release();
    }
}

/// Releases a buffer that was there before.
fn releases(world: &World) {
    world.objects[0].release();
}

fn retires(world: &World) {
    let object = &world.objects[0];
    match object.state.retire() {
        Ok(Retired::Now) => object.hand_over(),
        Ok(Retired::AtLastRelease) => (),
        Err(_) => return,
    }
    assert_eq!(object.state.export(), Err(Refusal::Freed), "a freed object gets no new buffer");
    assert!(object.state.free().is_err());
}

/// Without memory, in a read section.
fn retires_in_vain(world: &World) {
    let object = &world.objects[0];
    if object.state.retire() == Ok(Retired::Now) {
        object.state.unclaim();
    }
}

/// As `free_rcu` inside of a callback, or without memory.
fn parks(world: &World, at: usize) {
    let object = &world.objects[at];
    if object.state.retire() == Ok(Retired::Now) {
        world.parked.push(&object.state, at as u64 + 1);
    }
}

/// The last buffer of a retired object goes where nobody may wait.
fn parks_at_last_release(world: &World) {
    let object = &world.objects[1];
    assert_eq!(object.state.retire(), Ok(Retired::AtLastRelease));
    let _seen = object.memory.get();
    if object.state.unexport() {
        world.parked.push(&object.state, 2);
    }
}

/// Runs the steps of each thread, with that many buffers on each object before.
fn explore<const N: usize>(exports: [u64; 2], threads: [Step; N]) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = (N > 2).then_some(3);
    model.check(move || {
        let world = Arc::new(World::new(exports));
        let spawn = |steps: Step| {
            let world = world.clone();
            thread::spawn(move || steps(&world))
        };
        threads.map(spawn).into_iter().for_each(|thread| thread.join().unwrap());
        world.end();
    });
}

fn free_against_buffer() {
    explore([0, 0], [frees, views]);
}

#[test]
fn loom_object_free_against_buffer() {
    free_against_buffer();
    explore([0, 0], [frees, views, views]);
}

#[test]
fn loom_object_frees_meet() {
    explore([0, 0], [frees, frees_many, frees]);
    explore([0, 0], [frees, frees_many_in_vain, views]);
    explore([0, 0], [frees, frees_many, retires]);
    explore([0, 0], [retires_in_vain, frees_many_in_vain, frees]);
}

fn two_releases_against_retire() {
    explore([2, 0], [releases, releases, retires]);
}

#[test]
fn loom_object_retire_against_last_release() {
    explore([1, 0], [releases, retires]);
    explore([1, 0], [releases, retires, views]);
    explore([1, 0], [releases, retires, frees]);
    explore([1, 0], [releases, retires, retires]);
    two_releases_against_retire();
}

fn takers_of_the_parked_meet() {
    explore(
        [0, 1],
        [
            |world| {
                parks(world, 0);
                world.hand_over_parked(false);
            },
            |world| {
                parks_at_last_release(world);
                world.hand_over_parked(false);
            },
        ],
    );
}

#[test]
fn loom_object_parked_goes_once() {
    takers_of_the_parked_meet();
    explore([0, 1], [|world| parks(world, 0), parks_at_last_release, |world| world.hand_over_parked(true)]);
    explore([0, 1], [|world| parks(world, 0), parks_at_last_release, views]);
}

/// A callback's view ends while another thread releases its last buffer: who of the two finds it pinned takes the pin out.
fn end_of_a_view() {
    loom::model(|| {
        let view = Arc::new((State::view(), Cell::new(0_i32), Counter::new()));
        view.0.export().unwrap();
        let releaser = {
            let view = view.clone();
            thread::spawn(move || {
                if view.0.unexport_view() {
                    view.1.set(view.1.get() - 1);
                    view.2.add(1);
                }
            })
        };
        let mut pinned = false;
        let exports = view.0.end_view(|| {
            if !std::mem::replace(&mut pinned, true) {
                view.1.set(view.1.get() + 1);
            }
        });
        if pinned && exports == 0 {
            view.1.set(view.1.get() - 1);
        }
        releaser.join().unwrap();
        assert_eq!(view.1.get(), 0, "a pin that nobody takes out");
        assert_eq!(view.2.get(), exports, "the last buffer of a view that has ended");
        assert_eq!(view.0.export(), Err(Refusal::PastView));
    });
}

#[test]
fn loom_object_end_of_a_view() {
    end_of_a_view();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn loom_object_catches_an_unchecked_step() {
    Bug::ObjectUnchecked.plant(free_against_buffer);
}

#[test]
#[should_panic(expected = "a freed object gets no new buffer")]
fn loom_object_catches_a_lost_release() {
    Bug::ObjectLostRelease.plant(two_releases_against_retire);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn loom_object_catches_parked_ones_taken_twice() {
    Bug::ObjectParkedTwice.plant(takers_of_the_parked_meet);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn loom_object_catches_a_late_pin() {
    Bug::ObjectLatePin.plant(end_of_a_view);
}
