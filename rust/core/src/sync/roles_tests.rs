#![forbid(unsafe_code)]
//! Atomics by role, on one thread and on several.

use super::*;

#[test]
fn counters_wrap_so_that_differences_sum_to_the_truth() {
    let (here, there) = (Counter::new(), Counter::new());
    here.add(3);
    there.sub(2);
    assert_eq!(here.get().wrapping_add(there.get()), 1);
    here.set(7);
    assert_eq!(here.get(), 7);
}

#[test]
fn published_words_change_only_from_what_was_seen() {
    let word = Published::new(1);
    assert_eq!(word.publish_if(2, 3), Err(1));
    assert_eq!((word.publish_if(1, 4), word.read()), (Ok(()), 4));
    word.publish(9);
    assert_eq!((word.take(5), word.read()), (9, 14));
}

#[test]
fn a_flag_has_one_holder_until_it_is_released_or_stale() {
    let flag = TryFlag::new();
    let never = |_| false;
    assert!(flag.try_take(1, never) && !flag.try_take(1, never));
    assert!(flag.is_held_by(|who| who == 1));
    assert!(flag.try_take(2, |who| who == 1), "a holder that fork took away");
    flag.release();
    assert!(flag.is_held_by(|who| who == 0) && flag.try_take(3, never));
}

#[test]
fn a_flag_keeps_threads_apart() {
    let (flag, inside, entered) = (TryFlag::new(), Counter::new(), Counter::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    if flag.try_take(1, |_| false) {
                        inside.add(1);
                        assert_eq!(inside.get(), 1, "two threads hold the flag");
                        inside.sub(1);
                        entered.add(1);
                        flag.release();
                    }
                }
            });
        }
    });
    assert_ne!(entered.get(), 0);
}
