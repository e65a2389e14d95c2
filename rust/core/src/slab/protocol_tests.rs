//! The slab protocol on one thread, in both forms: what each step leaves behind.

use super::super::testing::{Death, Object, Size, World};
use super::*;
use crate::sync::Form;
use proptest::prelude::*;

fn worlds(size: Size) -> impl Iterator<Item = World> {
    let double = (Form::detect() == Form::Double).then_some(Form::Double);
    double.into_iter().chain([Form::Packed]).map(move |form| World::new(form, size))
}

const SMALL: Size = Size { descriptors: 3, pages: 3, objects: 4, min_partial: 1, death: Death::AtOnce, room: 9 };

#[test]
fn a_new_slab_keeps_its_rest_in_ascending_order() {
    for world in worlds(SMALL) {
        let kept = world.new_slab(1).expect("room");
        let rest = world.harvest(9);
        let offsets: Vec<_> = kept.iter().chain(&rest).map(|object| object.reference().offset()).collect();
        assert_eq!(offsets, [0, 8, 16, 24]);
        world.check(kept.into_iter().chain(rest).collect());
    }
}

#[test]
fn the_first_free_lists_a_full_slab_and_others_do_not() {
    for world in worlds(SMALL) {
        let mut held = world.new_slab(4).expect("room");
        assert_eq!(world.node.listed(world.form()), 0);
        let rest = held.split_off(1);
        world.free(held);
        world.free(rest);
        assert_eq!((world.node.listed(world.form()), world.stat(Stat::FreeAddPartial)), (1, 1));
        world.check(vec![]);
    }
}

#[test]
fn a_chain_comes_back_in_front_of_the_list() {
    for world in worlds(Size { min_partial: 9, ..SMALL }) {
        let mut held = world.new_slab(4).expect("room");
        let later = held.split_off(2);
        world.free(held);
        world.free(later);
        let order: Vec<_> = world.harvest(4).iter().map(|object| object.reference().offset()).collect();
        assert_eq!(order, [16, 24, 0, 8]);
    }
}

#[test]
fn wholly_free_slabs_stay_up_to_min_partial_and_then_die() {
    for world in worlds(SMALL) {
        let (first, second) = (world.new_slab(4).expect("room"), world.new_slab(4).expect("room"));
        world.free(first);
        assert_eq!((world.node.slabs(), world.stat(Stat::FreeSlab)), (2, 0), "the node has none yet");
        world.free(second);
        assert_eq!((world.node.slabs(), world.stat(Stat::FreeSlab)), (1, 1));
        assert_eq!(world.stat(Stat::FreeRemovePartial), 0, "it was not listed");
        world.check(vec![]);
    }
}

#[test]
fn a_listed_slab_that_dies_leaves_a_tombstone_that_a_harvest_buries() {
    for world in worlds(Size { min_partial: 0, ..SMALL }) {
        let held = world.new_slab(1).expect("room");
        world.free(held);
        let form = world.form();
        assert_eq!((world.node.listed(form), world.node.partial(form), world.node.slabs()), (1, 0, 0));
        assert_eq!(world.stat(Stat::FreeRemovePartial), 1);
        assert_eq!(world.harvest(1), []);
        assert_eq!(world.node.listed(form), 0);
        world.check(vec![]);
    }
}

#[test]
fn the_rest_of_a_harvest_goes_back_on_top() {
    for world in worlds(SMALL) {
        let below = world.new_slab(3).expect("room");
        let above = world.new_slab(1).expect("room");
        let got = world.harvest(2);
        assert_eq!(world.stat(Stat::FreeAddPartial), 1, "the rest of the upper slab");
        let last = world.harvest(1);
        assert_eq!(last[0].reference().offset(), 24, "of the upper slab again");
        world.check([below, above, got, last].into_iter().flatten().collect());
    }
}

#[test]
fn shrink_kills_the_free_and_puts_the_fullest_on_top() {
    for world in worlds(Size { descriptors: 4, pages: 4, objects: 8, min_partial: 9, ..SMALL }) {
        let fullest = world.new_slab(7).expect("room");
        let _free = world.new_slab(0).expect("room");
        let emptiest = world.new_slab(1).expect("room");
        assert_eq!(world.shrink(), 1);
        let top = world.harvest(1);
        assert_eq!(top[0].reference().offset(), 56, "the one free object of the fullest slab");
        world.check([fullest, emptiest, top].into_iter().flatten().collect());
    }
}

#[test]
#[should_panic(expected = "freed twice")]
fn more_frees_than_objects_are_noticed() {
    let world = World::new(Form::Packed, SMALL);
    let held = world.new_slab(1).expect("room");
    let slab = 1;
    let object = held[0].reference();
    free_chain(&world, slab, object, object, 1);
    free_chain(&world, slab, object, object, 1);
}

proptest! {
    /// Any sequence of steps loses and doubles nothing, and the counts are right at every step.
    #[test]
    fn any_sequence_keeps_every_object(
        steps in prop::collection::vec((0u8..6, 1u32..7, any::<prop::sample::Index>()), 0..60),
        min_partial in 0u64..3,
        death in prop_oneof![Just(Death::AtOnce), Just(Death::AfterDestructors), Just(Death::AfterReaders)],
    ) {
        for world in worlds(Size { descriptors: 5, pages: 4, objects: 5, min_partial, death, room: 2 }) {
            let mut held: Vec<Object> = vec![];
            for (step, n, at) in &steps {
                match step {
                    0 => held.extend(world.refill(*n)),
                    1 => held.extend(world.harvest(*n)),
                    2 => held.extend(world.new_slab((*n).min(5)).into_iter().flatten()),
                    3 if !held.is_empty() => {
                        let object = held.swap_remove(at.index(held.len()));
                        world.free(vec![object]);
                    }
                    4 => drop(world.shrink()),
                    5 => drop(world.reap()),
                    _ => {}
                }
                prop_assert!(held.len() as u64 <= world.node.objects());
                prop_assert_eq!(world.node.objects(), 5 * world.node.slabs());
                prop_assert!(world.node.partial(world.form()) <= world.node.slabs());
            }
            world.check(held);
        }
    }
}
