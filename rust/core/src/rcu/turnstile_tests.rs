use super::super::seat::OWN;
use super::*;
use crate::sync::Counter;
use std::sync::{Arc, Barrier};

const CLOSED: u64 = 1;

#[test]
fn a_pass_counts_what_it_did_and_a_flag_bars_it() {
    let gate = Turnstile::new();
    assert_eq!(gate.pass(&Here::new(), Kind::Enter, || ("in", true)), Some("in"));
    assert_eq!(gate.pass(&Here::new(), Kind::Enter, || ("nothing", false)), Some("nothing"));
    assert_eq!(gate.pass(&Here::new(), Kind::Leave, || ((), true)), Some(()));
    assert_eq!(gate.done(), [1, 1]);
    gate.change(CLOSED, 0);
    assert_eq!(gate.pass(&Here::new(), Kind::Enter, || unreachable!("barred") as ((), bool)), None);
    gate.change(2, CLOSED);
    assert_eq!(gate.flags(), 2);
    gate.change(0, 2);
    assert_eq!(gate.pass(&Here::new(), Kind::Leave, || ((), true)), Some(()));
    assert_eq!(gate.done(), [1, 2]);
}

#[test]
fn visits_lie_inside_one_another_and_are_seen() {
    let gate = Turnstile::new();
    assert!(gate.is_empty());
    let (outer, flags) = gate.visit(Kind::Enter);
    assert_eq!(flags, 0);
    gate.change(CLOSED, 0);
    let (inner, flags) = gate.visit(Kind::Leave);
    assert_eq!(flags, CLOSED);
    inner.count(7);
    drop(inner);
    assert!(!gate.is_empty());
    drop(outer);
    assert!(gate.is_empty());
    assert_eq!(gate.done(), [0, 7]);
    let (_left_in_the_parent, _) = gate.visit(Kind::Enter);
    gate.forget_visits(|_| 0);
    assert!(gate.is_empty());
    core::mem::forget(_left_in_the_parent);
}

#[test]
fn a_watched_thread_passes_nowhere_and_visits_everywhere() {
    let gate = Turnstile::new();
    let (outer, _) = gate.visit(Kind::Enter);
    {
        let _watched = super::super::watch_thread();
        let _again = super::super::watch_thread();
        assert_eq!(gate.pass(&Here::new(), Kind::Enter, || ((), true)), None);
        gate.visit(Kind::Enter).0.count(2);
    }
    outer.count(1);
    drop(outer);
    assert_eq!(gate.pass(&Here::new(), Kind::Enter, || ((), true)), Some(()));
    assert!(gate.is_empty());
    assert_eq!(gate.done(), [4, 0]);
}

/// More threads than seats of their own: the rest share.
#[test]
fn nobody_is_inside_with_the_owner_and_every_count_is_there() {
    let threads = OWN + 4;
    let gate = Arc::new(Turnstile::new());
    let (alone, seen) = (Arc::new(Counter::new()), Arc::new(Counter::new()));
    let (start, stop) = (Arc::new(Barrier::new(threads + 1)), Arc::new(Counter::new()));
    let passers: Vec<_> = (0..threads)
        .map(|_| {
            let (gate, alone, seen) = (gate.clone(), alone.clone(), seen.clone());
            let (start, stop) = (start.clone(), stop.clone());
            std::thread::spawn(move || {
                start.wait();
                let mut done = 0;
                while stop.get() == 0 {
                    let passed = gate.pass(&Here::new(), Kind::Enter, || {
                        seen.add(alone.get());
                        ((), true)
                    });
                    done += u64::from(passed.is_some());
                    if passed.is_none() {
                        std::thread::yield_now();
                    }
                }
                done
            })
        })
        .collect();
    start.wait();
    for _ in 0..40 {
        gate.change(CLOSED, 0);
        while !gate.is_empty() {
            std::thread::yield_now();
        }
        alone.set(1);
        std::hint::spin_loop();
        alone.set(0);
        gate.change(0, CLOSED);
        std::thread::yield_now();
    }
    stop.set(1);
    let done: u64 = passers.into_iter().map(|passer| passer.join().unwrap()).sum();
    assert_eq!(seen.get(), 0, "a visit went on while somebody was alone");
    assert_eq!(gate.done(), [done, 0]);
    assert!(done > 0);
}
