#![forbid(unsafe_code)]
//! The graveyard on one thread, in both forms.

use super::super::testing::{Death, Size, World};
use super::*;
use crate::sync::Form;

const SMALL: Size =
    Size { descriptors: 3, pages: 3, objects: 4, min_partial: 0, death: Death::AfterDestructors, room: 2 };

fn worlds(size: Size) -> impl Iterator<Item = World> {
    let double = (Form::detect() == Form::Double).then_some(Form::Double);
    double.into_iter().chain([Form::Packed]).map(move |form| World::new(form, size))
}

#[test]
fn a_dead_slab_keeps_its_pages_until_it_is_reaped() {
    for world in worlds(Size { pages: 1, ..SMALL }) {
        let all = world.new_slab(4).expect("room");
        world.free(all);
        assert_eq!((world.node.slabs(), world.node.grave().dead()), (0, 1));
        assert!(world.new_slab(1).is_none(), "its page is not free yet");
        assert_eq!(world.reap(), 1);
        assert_eq!((world.node.grave().dead(), world.stat(Stat::ReapSlab)), (0, 1));
        let again = world.new_slab(1).expect("the page");
        world.check(again);
    }
}

#[test]
fn a_tombstone_buried_first_leaves_the_descriptor_to_the_reaper() {
    for world in worlds(SMALL) {
        let held = world.new_slab(1).expect("room");
        world.free(held);
        assert_eq!(world.harvest(1), []);
        assert_eq!((world.node.listed(world.form()), world.reap()), (0, 1));
        world.check(vec![]);
    }
}

#[test]
fn a_slab_reaped_first_leaves_the_descriptor_to_who_buries_it() {
    for world in worlds(SMALL) {
        let held = world.new_slab(1).expect("room");
        world.free(held);
        assert_eq!((world.reap(), world.node.listed(world.form())), (1, 1));
        assert_eq!(world.harvest(1), []);
        world.check(vec![]);
    }
}

#[test]
fn frees_kill_no_more_than_there_is_room_for() {
    for world in worlds(SMALL) {
        for held in [(); 3].map(|()| world.new_slab(4).expect("room")) {
            world.free(held);
        }
        assert_eq!((world.node.slabs(), world.node.grave().dead()), (1, 2), "the third stays and serves on");
        let held = world.harvest(4);
        assert_eq!(held.len(), 4);
        assert_eq!(world.reap(), 2);
        world.free(held);
        assert_eq!((world.node.slabs(), world.node.grave().dead()), (0, 1), "there is room again");
        world.check(vec![]);
    }
}

#[test]
fn shrink_lays_the_wholly_free() {
    for world in worlds(Size { min_partial: 9, ..SMALL }) {
        let held = world.new_slab(4).expect("room");
        world.free(held);
        assert_eq!(world.shrink(), 1);
        assert_eq!((world.node.slabs(), world.node.listed(world.form()), world.reap()), (0, 0, 1));
        world.check(vec![]);
    }
}

#[test]
fn what_died_under_a_reader_waits_and_later_deaths_wait_with_it() {
    for world in worlds(Size { death: Death::AfterReaders, ..SMALL }) {
        let (first, second) = (world.new_slab(4).expect("room"), world.new_slab(4).expect("room"));
        world.show(first.first());
        world.reading(|| {
            world.free(first);
            assert_eq!((world.reap(), world.reap()), (0, 0));
            world.free(second);
            assert_eq!((world.reap(), world.node.grave().dead()), (0, 2));
            assert!(!world.node.grave().is_empty(world.form()));
            world.read();
        });
        assert_eq!(world.reap(), 2);
        world.check(vec![]);
    }
}
