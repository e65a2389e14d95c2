use super::Rng;

fn first(seed: u64, scenario: &str, thread: u32) -> Vec<u64> {
    let mut rng = Rng::new(seed, scenario, thread);
    (0..8).map(|_| rng.next()).collect()
}

#[test]
fn same_seed_scenario_and_thread_give_the_same_numbers() {
    assert_eq!(first(1, "churn", 0), first(1, "churn", 0));
    for other in [first(2, "churn", 0), first(1, "burst", 0), first(1, "churn", 1)] {
        assert_ne!(first(1, "churn", 0), other);
    }
}

#[test]
fn bounds_are_kept_and_reached() {
    let mut rng = Rng::new(7, "bounds", 0);
    let mut seen = [false; 5];
    for _ in 0..1000 {
        seen[rng.between(3, 7) - 3] = true;
    }
    assert_eq!(seen, [true; 5]);
}
