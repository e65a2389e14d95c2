use super::*;

#[test]
fn of_1024_tries_one_more_than_the_ratio_pass() {
    for ratio in [0, 10, 500, 990, 1000] {
        for first in [0, 1, 77, u64::MAX - 400] {
            let passed = (0..1024).filter(|nth| is_open(first.wrapping_add(*nth), ratio)).count();
            assert_eq!(passed as u64, ratio + 1, "from {first} on");
        }
    }
}
