use super::super::here::Here;
use super::super::watch_thread;
use super::*;

fn pointer(n: usize) -> NonNull<c_void> {
    NonNull::new(core::ptr::without_provenance_mut(n)).unwrap()
}

#[test]
fn the_last_one_kept_is_taken_first_and_there_is_an_end_to_room() {
    let (kept, seat, other) = (Kept::new(), Seat::new(0), Seat::new(1));
    assert_eq!(kept.take(seat), None);
    for n in 1..=MOST_KEPT {
        assert!(kept.keep(seat, pointer(n)));
    }
    assert!(!kept.keep(seat, pointer(MOST_KEPT + 1)));
    assert_eq!(kept.take(other), None);
    for n in (1..=MOST_KEPT).rev() {
        assert_eq!(kept.take(seat), Some(pointer(n)));
    }
    assert_eq!(kept.take(seat), None);
}

#[test]
fn a_shared_seat_keeps_nothing() {
    let (kept, shared) = (Kept::new(), Seat::new(OWN));
    assert!(!kept.keep(shared, pointer(1)));
    assert_eq!(kept.take(shared), None);
}

#[test]
fn a_forks_child_forgets_what_others_kept() {
    let (kept, mine, other) = (Kept::new(), Seat::new(2), Seat::new(3));
    assert!(kept.keep(mine, pointer(1)));
    assert!(kept.keep(other, pointer(2)));
    kept.forget_others(Some(mine));
    assert_eq!(kept.take(other), None);
    assert_eq!(kept.take(mine), Some(pointer(1)));
    assert!(kept.keep(mine, pointer(3)));
    kept.forget_others(None);
    assert_eq!(kept.take(mine), None);
}

/// On the process's stacks, which tests of other threads may have left something on.
#[test]
fn a_thread_takes_what_it_kept_unless_it_is_watched() {
    let mine = pointer(0x1000);
    if !Here::new().keep(mine) {
        assert!(!Here::new().seat().is_own(), "a seat of its own has room");
        return;
    }
    {
        let _watched = watch_thread();
        assert_eq!(Here::new().take_kept(), None);
        assert!(!Here::new().keep(pointer(0x2000)));
    }
    assert_eq!(Here::new().take_kept(), Some(mine));
}

/// Waves of threads, more than there are seats: who has one of its own never meets another thread there.
#[test]
fn no_two_threads_have_one_seat() {
    use crate::sync::Published;
    use std::sync::Barrier;
    let at_seat: Vec<Published> = (0..OWN).map(|_| Published::new(0)).collect();
    for _ in 0..8 {
        let all = Barrier::new(OWN + 8);
        std::thread::scope(|threads| {
            for _ in 0..OWN + 8 {
                threads.spawn(|| {
                    let seat = Here::new().seat();
                    if seat.is_own() {
                        assert_eq!(at_seat[seat.index()].take(1), 0);
                    }
                    for _ in 0..100 {
                        assert_eq!(Here::new().seat(), seat, "a thread stays where it sits");
                    }
                    all.wait();
                    if seat.is_own() {
                        at_seat[seat.index()].take(u64::MAX);
                    }
                });
            }
        });
    }
}
