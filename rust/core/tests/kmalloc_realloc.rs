//! `krealloc`: where memory stays, where it moves, and which bytes are zero.

mod support;

use haybarn::{AllocFlags, Arena};
use support::by_size::*;
use support::*;

const ZERO: AllocFlags = AllocFlags::ZERO;

/// Memory of `size` bytes, every byte of its class `with`.
fn filled(arena: &'static Arena, size: usize, with: u8) -> *mut u8 {
    let object = kmalloc(arena, size, PLAIN).unwrap().as_ptr();
    paint(object, ksize(arena, object), with);
    object
}

#[test]
fn it_stays_where_it_fits_and_moves_with_its_contents_where_not() {
    for arena in every_arena() {
        for (size, room) in [(8, 8), (60, 64), (70, 96), (8192, 8192), (9000, 16384), (3 << 20, 4 << 20)] {
            let object = filled(arena, size, 7);
            {
                for fits in [1, size, room] {
                    assert_eq!(krealloc(arena, object, fits, PLAIN).unwrap().as_ptr(), object, "{size} to {fits}");
                }
                if room < KMALLOC_MAX_SIZE {
                    let moved = krealloc(arena, object, room + 1, PLAIN).unwrap().as_ptr();
                    assert!(moved != object && bytes(moved, room).iter().all(|&byte| byte == 7), "{size}");
                    kfree(arena, moved);
                } else {
                    assert!(krealloc(arena, object, room + 1, PLAIN).is_none());
                    kfree(arena, object);
                }
            }
        }
    }
}

#[test]
fn with_zero_what_is_behind_is_zero_if_it_always_was() {
    for arena in every_arena() {
        {
            // In place: all behind the new size, up to the end of the class.
            let object = filled(arena, 512, 9);
            let same = krealloc(arena, object, 100, ZERO).unwrap().as_ptr();
            assert!(bytes(same, 100).iter().all(|&byte| byte == 9) && bytes(same, 512)[100..].iter().all(|&b| b == 0));
            // A chain that has ZERO in every call: growth is zero, in place and not.
            assert!(krealloc(arena, same, 400, ZERO).is_some());
            assert!(bytes(same, 512)[100..].iter().all(|&byte| byte == 0));
            let moved = krealloc(arena, same, 3000, ZERO).unwrap().as_ptr();
            assert!(
                bytes(moved, 100).iter().all(|&byte| byte == 9) && bytes(moved, 4096)[100..].iter().all(|&b| b == 0)
            );
            kfree(arena, moved);
            // Without ZERO nothing is touched.
            let object = filled(arena, 512, 9);
            assert!(krealloc(arena, object, 100, PLAIN).is_some());
            assert!(bytes(object, 512).iter().all(|&byte| byte == 9));
            // Nobody knows that 100 were in use: bytes from 100 to 200 are what they were, by Linux's rule too.
            assert!(krealloc(arena, object, 200, ZERO).is_some());
            assert!(
                bytes(object, 200).iter().all(|&byte| byte == 9) && bytes(object, 512)[200..].iter().all(|&b| b == 0)
            );
            kfree(arena, object);
        }
    }
}

#[test]
fn who_knows_the_length_gets_zeroes_from_there() {
    for arena in every_arena() {
        {
            let object = filled(arena, 512, 9);
            assert_eq!(krealloc_from(arena, object, 100, 300, ZERO).unwrap().as_ptr(), object);
            let expected = |at: usize| if (100..300).contains(&at) { 0 } else { 9 };
            assert!(bytes(object, 512).iter().enumerate().all(|(at, &byte)| byte == expected(at)));
            let moved = krealloc_from(arena, object, 50, 9000, ZERO).unwrap().as_ptr();
            assert!(
                bytes(moved, 50).iter().all(|&byte| byte == 9) && bytes(moved, 16384)[50..].iter().all(|&b| b == 0)
            );
            kfree(arena, moved);
        }
    }
}

#[test]
fn an_object_of_another_node_moves_if_the_caller_minds() {
    for arena in every_arena_of_nodes() {
        haybarn::set_virtual_cpu(Some(0));
        let object = filled(arena, 64, 3);
        {
            assert_eq!(krealloc(arena, object, 60, AllocFlags::THISNODE).unwrap().as_ptr(), object, "it is here");
            haybarn::set_virtual_cpu(Some(1));
            assert_eq!(krealloc(arena, object, 60, PLAIN).unwrap().as_ptr(), object, "it fits");
            let moved = krealloc(arena, object, 60, AllocFlags::THISNODE).unwrap().as_ptr();
            assert!(moved != object && bytes(moved, 60).iter().all(|&byte| byte == 3));
            kfree(arena, moved);
        }
        haybarn::set_virtual_cpu(Some(0));
    }
}

/// Two CPUs, each a node.
fn every_arena_of_nodes() -> Vec<&'static Arena> {
    let made = FORMS.map(|form| {
        let config = config(haybarn::BackendKind::Virtual, form);
        arena(haybarn::ArenaConfig { cpus: Some(2), nodes: 2, ..config })
    });
    made.into_iter().flatten().collect()
}
