//! The tagged stack in both forms: order, batches, lengths, and threads that move entries about.

use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

pub(super) struct Table(Vec<Link>);

impl Table {
    fn new(entries: u32) -> Self {
        Self((0..=entries).map(|_| Link::new()).collect())
    }
}

impl Links for Table {
    fn link(&self, index: Index) -> &Link {
        &self.0[index as usize]
    }
}

/// Packed, and double where this CPU has it.
fn forms() -> Vec<Form> {
    let double = (Form::detect() == Form::Double).then_some(Form::Double);
    double.into_iter().chain([Form::Packed]).collect()
}

#[test]
fn last_in_is_first_out() {
    for form in forms() {
        let (stack, links) = (TaggedStack::new(form), Table::new(3));
        for entry in 1..=3 {
            assert_eq!(stack.push(form, &links, entry), 0, "nobody disturbed");
        }
        assert_eq!(stack.len(form), 3);
        assert_eq!([(); 4].map(|()| stack.pop(form, &links)), [Some(3), Some(2), Some(1), None]);
        assert_eq!(stack.len(form), 0);
    }
}

#[test]
fn batches_come_from_the_top_and_stop_where_told() {
    for form in forms() {
        let (stack, links) = (TaggedStack::new(form), Table::new(5));
        (1..=5).for_each(|entry| {
            stack.push(form, &links, entry);
        });
        let mut out = [0; 2];
        assert_eq!((stack.pop_batch(form, &links, &mut out), out), (2, [5, 4]));
        let mut out = [0; 3];
        assert_eq!(stack.pop_until(form, &links, &mut out, || |entry| entry == 2), 2);
        assert_eq!((out, stack.len(form)), ([3, 2, 0], 1));
        assert_eq!(stack.pop_batch(form, &links, &mut out), 1, "less than asked for");
        assert_eq!(stack.pop_batch(form, &links, &mut out), 0);
        assert_eq!(stack.pop_batch(form, &links, &mut []), 0);
    }
}

#[test]
fn a_chain_goes_on_top_in_its_order() {
    for form in forms() {
        let (stack, links) = (TaggedStack::new(form), Table::new(4));
        stack.push(form, &links, 4);
        TaggedStack::chain(&links, 1, 2);
        TaggedStack::chain(&links, 2, 3);
        stack.push_chain(form, &links, 1, 3, 3);
        let mut seen = vec![];
        stack.visit(form, &links, |entry| seen.push(entry));
        assert_eq!((seen, stack.len(form)), (vec![1, 2, 3, 4], 4));
    }
}

#[test]
fn the_tag_grows_with_every_change_and_wraps_without_touching_the_index() {
    let last = Head { index: 7, count: 1, tag: u64::from(u32::MAX) };
    let packed = Head::from_packed(last.next(9, 2).to_packed());
    assert_eq!((packed.index, packed.tag), (9, 0));
    let double = last.next(9, 2).to_double();
    let double = Head::from_double(double.0, double.1);
    assert_eq!((double.index, double.count, double.tag), (9, 2, 1 << 32));
}

proptest! {
    #[test]
    fn the_stack_is_a_vec(steps in prop::collection::vec((0u8..4, 1usize..5), 0..60)) {
        for form in forms() {
            let (stack, links) = (TaggedStack::new(form), Table::new(16));
            let (mut model, mut spare): (Vec<Index>, Vec<Index>) = (vec![], (1..=16).collect());
            for &(step, n) in &steps {
                if step == 0 {
                    let Some(entry) = spare.pop() else { continue };
                    stack.push(form, &links, entry);
                    model.push(entry);
                } else {
                    let mut out = vec![0; n];
                    let taken = stack.pop_batch(form, &links, &mut out);
                    prop_assert_eq!(taken, n.min(model.len()));
                    let expected: Vec<_> = model.drain(model.len() - taken..).rev().collect();
                    prop_assert_eq!(&out[..taken], &expected[..]);
                    spare.extend(expected);
                }
                prop_assert_eq!(stack.len(form), model.len() as u64);
            }
        }
    }
}

#[test]
fn threads_lose_and_double_nothing() {
    const ENTRIES: u32 = 24;
    for form in forms() {
        let (stack, links) = (TaggedStack::new(form), Table::new(ENTRIES));
        (1..=ENTRIES).for_each(|entry| {
            stack.push(form, &links, entry);
        });
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (stack, links) = (&stack, &links);
                scope.spawn(move || {
                    let mut out = [0; 3];
                    for round in 0..20_000 {
                        let taken = stack.pop_batch(form, links, &mut out[..1 + (round + thread) % 3]);
                        out[..taken].iter().for_each(|&entry| {
                            stack.push(form, links, entry);
                        });
                    }
                });
            }
        });
        assert_eq!(stack.len(form), u64::from(ENTRIES));
        let left: HashSet<_> = core::iter::from_fn(|| stack.pop(form, &links)).collect();
        assert_eq!(left.len(), ENTRIES as usize);
    }
}
