#![forbid(unsafe_code)]

use super::*;

#[test]
fn a_permutation_has_every_number_once() {
    let mut order = Random::new(7).permutation(1000);
    assert_ne!(order, (0..1000).collect::<Vec<u16>>());
    order.sort_unstable();
    assert_eq!(order, (0..1000).collect::<Vec<u16>>());
}

#[test]
fn numbers_stay_below_the_end_and_reach_both_ends() {
    let mut random = Random::new(1);
    let drawn: Vec<usize> = (0..1000).map(|_| random.below(10)).collect();
    assert!(drawn.iter().all(|&n| n < 10));
    assert!(drawn.contains(&0) && drawn.contains(&9));
}
