#![forbid(unsafe_code)]
//! The doubleword in both forms.

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count(u32, u64);

impl Fields for Count {
    fn to_double(self) -> (u64, u64) {
        (u64::from(self.0), self.1)
    }
    fn from_double(word0: u64, word1: u64) -> Self {
        Self(word0 as u32, word1)
    }
    fn to_packed(self) -> u64 {
        u64::from(self.0) | self.1 << 32
    }
    fn from_packed(word: u64) -> Self {
        Self(word as u32, word >> 32)
    }
}

fn forms() -> impl Iterator<Item = Form> {
    let double = (Form::detect() == Form::Double).then_some(Form::Double);
    double.into_iter().chain([Form::Packed])
}

#[test]
fn a_swap_needs_the_whole_old_value() {
    for form in forms() {
        let word = DoubleWord::new(form, Count(1, 2));
        for wrong in [Count(1, 3), Count(2, 2)] {
            assert!(!word.swap(form, wrong, Count(9, 9)));
        }
        assert!(word.swap(form, Count(1, 2), Count(3, 4)));
        assert_eq!(word.load(form), Count(3, 4));
    }
}

#[test]
fn threads_lose_no_swap_and_tear_no_pair() {
    const ROUNDS: u32 = 20_000;
    for form in forms() {
        let word = DoubleWord::new(form, Count(0, 0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        loop {
                            let seen = word.load(form);
                            if word.swap(form, seen, Count(seen.0 + 1, seen.1 + 1)) {
                                // A pair of two moments would have failed to swap.
                                assert_eq!(u64::from(seen.0), seen.1);
                                break;
                            }
                        }
                    }
                });
            }
        });
        assert_eq!(word.load(form), Count(4 * ROUNDS, u64::from(4 * ROUNDS)));
    }
}

#[test]
fn zeroed_memory_is_a_word_of_zeros() {
    for form in forms() {
        assert_eq!(DoubleWord::<Count>::new(form, Count(0, 0)).load(form), Count(0, 0));
    }
    assert_eq!((Form::Double.name(), Form::Packed.name()), ("double", "packed"));
}
