use super::*;
use proptest::prelude::*;

/// What `find_free` means, one position after the other.
fn naive(taken: u64, order: u8) -> Option<u32> {
    (0..WORD_PAGES).step_by(1 << order).find(|&at| taken & mask(order, at) == 0)
}

#[test]
fn masks_of_every_order() {
    assert_eq!(mask(0, 5), 1 << 5);
    assert_eq!(mask(3, 8), 0xff00);
    assert_eq!(mask(6, 0), !0);
}

#[test]
fn a_full_word_has_nothing_and_an_empty_one_starts_at_0() {
    for order in 0..=WORD_ORDER {
        assert_eq!(find_free(!0, order), None);
        assert_eq!(find_free(0, order), Some(0));
    }
}

#[test]
fn free_pages_that_are_not_aligned_are_no_field() {
    assert_eq!(find_free(!0b0110, 1), None);
    assert_eq!(find_free(!0b1100, 1), Some(2));
    assert_eq!(find_free(!(0xff << 4), 3), None);
}

proptest! {
    #[test]
    fn agrees_with_the_naive_search(a: u64, b: u64, c: u64, order in 0..=WORD_ORDER) {
        // The conjunctions make sparse words, in which larger orders fit too.
        for taken in [a, a & b, a & b & c, a | b | c] {
            prop_assert_eq!(find_free(taken, order), naive(taken, order));
        }
    }
}
