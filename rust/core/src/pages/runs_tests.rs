use super::*;
use crate::pages::ids::CHUNK_PAGES;

struct Fixture {
    taken: [BitWord; WORDS],
    summary: SummaryWord,
}

const CHUNK: u32 = 3;
const BITS: u64 = 0xff << (CHUNK * SUMMARY_BITS);

impl Fixture {
    fn new() -> Self {
        Self { taken: [const { 0 }; WORDS].map(BitWord::new), summary: SummaryWord::new(BITS) }
    }

    fn runs(&self) -> Runs<'_> {
        Runs::new(&self.taken, &self.summary, CHUNK)
    }

    fn words(&self) -> [u64; WORDS] {
        core::array::from_fn(|word| self.taken[word].peek())
    }

    fn may_have(&self, order: u8) -> bool {
        self.summary.peek() & BITS & summary_mask(Order(order)) != 0
    }
}

#[test]
fn every_order_fills_the_chunk_exactly_and_empties_it() {
    for order in (0..=9).map(Order) {
        let fixture = Fixture::new();
        let expected: Vec<u32> = (0..CHUNK_PAGES).step_by(order.pages() as usize).collect();
        let got: Vec<u32> = core::iter::from_fn(|| fixture.runs().take(order)).collect();
        assert_eq!(got, expected, "{order:?}");
        assert_eq!(fixture.words(), [!0; WORDS], "{order:?}");
        for &offset in got.iter().rev() {
            assert_eq!(fixture.runs().give(offset, order), Ok(()), "{order:?} at {offset}");
        }
        assert_eq!(fixture.words(), [0; WORDS], "{order:?}");
    }
}

#[test]
fn orders_mix_without_overlap() {
    let fixture = Fixture::new();
    let runs = fixture.runs();
    assert_eq!(runs.take(Order(0)), Some(0));
    assert_eq!(runs.take(Order(3)), Some(8));
    assert_eq!(runs.take(Order(1)), Some(2));
    assert_eq!(runs.take(Order(6)), Some(64));
    assert_eq!(runs.take(Order(7)), Some(128));
    assert_eq!(runs.take(Order(8)), Some(256));
    assert_eq!(runs.take(Order(9)), None);
    assert_eq!(runs.take(Order(0)), Some(1));
}

#[test]
fn a_run_given_back_twice_is_told_and_changes_nothing() {
    for order in (0..=9).map(Order) {
        let fixture = Fixture::new();
        let runs = fixture.runs();
        let offset = runs.take(order).expect("an empty chunk");
        let neighbour = runs.take(order);
        assert_eq!(runs.give(offset, order), Ok(()));
        let before = fixture.words();
        assert_eq!(runs.give(offset, order), Err(NotTaken), "{order:?}");
        assert_eq!(fixture.words(), before, "{order:?}");
        assert!(neighbour.is_none_or(|other| runs.give(other, order).is_ok()));
    }
}

#[test]
fn a_run_of_which_one_page_is_free_is_not_given_back() {
    let fixture = Fixture::new();
    let runs = fixture.runs();
    assert_eq!(runs.take(Order(8)), Some(0));
    assert_eq!(runs.give(255, Order(0)), Ok(()));
    let before = fixture.words();
    assert_eq!(runs.give(0, Order(8)), Err(NotTaken));
    assert_eq!(fixture.words(), before);
}

#[test]
fn words_taken_for_a_run_that_fails_are_undone() {
    let fixture = Fixture::new();
    fixture.summary.lower(!0, || false);
    let words = &fixture.taken[4..6];
    assert!(words.iter().all(|word| word.try_take(0, !0).is_ok()));
    fixture.runs().undo(words);
    assert_eq!(fixture.words(), [0; WORDS]);
    assert!((0..=9).all(|order| fixture.may_have(order)), "who saw the words full may have lowered the summary");
}

#[test]
fn a_failed_search_lowers_its_order_and_those_above() {
    let fixture = Fixture::new();
    let runs = fixture.runs();
    for word in &fixture.taken {
        word.try_take(0, 0x1111_1111_1111_1111).expect("free words");
    }
    assert_eq!(runs.take(Order(2)), None);
    assert!((0..2).all(|order| fixture.may_have(order)));
    assert!((2..=9).all(|order| !fixture.may_have(order)));
    runs.give(0, Order(0)).expect("it is taken");
    assert!((0..=9).all(|order| fixture.may_have(order)));
}

#[test]
fn an_order_that_shares_its_bit_does_not_speak_for_smaller_ones() {
    let fixture = Fixture::new();
    let runs = fixture.runs();
    assert_eq!(runs.take(Order(0)), Some(0));
    assert_eq!(runs.take(Order(9)), None);
    assert!(fixture.may_have(9), "order 7 still fits");
    assert_eq!(runs.take(Order(7)), Some(128));
}

#[test]
fn scattered_pages_are_taken_only_where_free() {
    let fixture = Fixture::new();
    let runs = fixture.runs();
    assert_eq!(runs.take(Order(2)), Some(0));
    let mut masks = [0; WORDS];
    masks[0] = runs.take_scattered(0, 0b1111_1100);
    assert_eq!(masks[0], 0b1111_0000);
    assert_eq!(runs.take_scattered(0, 0b1111_0000), 0);
    runs.give_scattered(&masks);
    assert_eq!(fixture.taken[0].peek(), 0b1111);
}
