//! Models of a chunk's runs: every interleaving of two threads, under loom.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p haybarn --release --lib loom_`.

use super::*;
use crate::sync::Bug;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// A chunk whose first word alone has free pages: `free` of them.
struct Chunk {
    taken: [BitWord; WORDS],
    summary: SummaryWord,
    /// Stand for what is on the first two pages; loom reports any access that races.
    pages: [UnsafeCell<u64>; 2],
}

const BITS: u64 = 0xff;

impl Chunk {
    fn new(free: u64) -> Arc<Self> {
        let taken = core::array::from_fn(|word| BitWord::new(if word == 0 { !free } else { !0 }));
        Arc::new(Self { taken, summary: SummaryWord::new(BITS), pages: [UnsafeCell::new(0), UnsafeCell::new(0)] })
    }

    fn runs(&self) -> Runs<'_> {
        Runs::new(&self.taken, &self.summary, 0)
    }

    /// Uses the run as its owner may: loom objects if anybody else is there.
    fn touch(&self, offset: u32, order: Order) {
        for page in offset..offset + order.pages() {
            self.pages[page as usize].with_mut(|_| ());
        }
    }

    fn take_use_give(&self, order: Order) -> bool {
        let Some(offset) = self.runs().take(order) else { return false };
        self.touch(offset, order);
        self.runs().give(offset, order).expect("it is ours");
        true
    }

    /// No chunk is lost: whatever can be taken is announced.
    fn check_announced(&self, order: Order) {
        if self.runs().has(order) {
            assert_ne!(self.summary.peek() & summary_mask(order), 0, "{order:?} is free and nobody will find it");
        }
    }
}

fn two(chunk: Arc<Chunk>, first: impl FnOnce(&Chunk) + Send + 'static, second: impl FnOnce(&Chunk)) -> Arc<Chunk> {
    let other = thread::spawn({
        let chunk = chunk.clone();
        move || first(&chunk)
    });
    second(&chunk);
    other.join().expect("no panic");
    chunk
}

fn one_owner_per_page() {
    loom::model(|| {
        let chunk = two(
            Chunk::new(0b11),
            |chunk| {
                chunk.take_use_give(Order(1));
            },
            |chunk| {
                chunk.take_use_give(Order(0));
                chunk.take_use_give(Order(0));
            },
        );
        assert_eq!(chunk.taken[0].peek(), !0b11, "all came back");
        chunk.check_announced(Order(1));
    });
}

#[test]
fn loom_page_bitmap_has_one_owner_per_page() {
    one_owner_per_page();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn loom_page_bitmap_catches_a_weak_give() {
    Bug::WeakGive.plant(one_owner_per_page);
}

#[test]
fn loom_page_bitmap_hands_over_what_was_written() {
    loom::model(|| {
        let last_owner = |chunk: &Chunk| {
            chunk.touch(0, Order(0));
            chunk.runs().give(0, Order(0)).expect("it is taken");
        };
        two(Chunk::new(0), last_owner, |chunk| {
            chunk.take_use_give(Order(0));
        });
    });
}

#[test]
fn loom_page_bitmap_undo_loses_nothing() {
    loom::model(|| {
        let chunk = Chunk::new(!0);
        chunk.taken[1].give(!0);
        let chunk = two(
            chunk,
            |chunk| {
                if let Some(offset) = chunk.runs().take(Order(7)) {
                    chunk.runs().give(offset, Order(7)).expect("it is ours");
                }
            },
            |chunk| {
                if let Some(offset) = chunk.runs().take(Order(6)) {
                    chunk.runs().give(offset, Order(6)).expect("it is ours");
                }
            },
        );
        assert_eq!((chunk.taken[0].peek(), chunk.taken[1].peek()), (0, 0));
        chunk.check_announced(Order(0));
        chunk.check_announced(Order(7));
    });
}

#[test]
fn loom_summary_bit_never_loses_a_chunk() {
    loom::model(|| {
        let chunk = two(
            Chunk::new(0),
            |chunk| chunk.runs().give(0, Order(0)).expect("it is taken"),
            |chunk| {
                if let Some(offset) = chunk.runs().take(Order(0)) {
                    chunk.touch(offset, Order(0));
                    chunk.runs().give(offset, Order(0)).expect("it is ours");
                }
            },
        );
        chunk.check_announced(Order(0));
    });
}

/// The planted bug: the search lowers the bit without looking again. The model must see the chunk lost.
#[test]
#[should_panic(expected = "nobody will find it")]
fn loom_summary_bit_without_the_second_look_is_caught() {
    loom::model(|| {
        let chunk = two(
            Chunk::new(0),
            |chunk| chunk.runs().give(0, Order(0)).expect("it is taken"),
            |chunk| {
                if !chunk.runs().has(Order(0)) {
                    chunk.summary.lower(BITS, || false);
                }
            },
        );
        chunk.check_announced(Order(0));
    });
}

/// A trim takes a marked page away from the free ones, hands it back to the system, and unmarks it; nobody who asks for marked
/// pages gets it afterwards.
fn marked_pages_have_been_touched() {
    loom::model(|| {
        /// What the system has given, and which pages are marked.
        struct Bits {
            there: BitWord,
            marks: [BitWord; WORDS],
        }
        let first = |word| BitWord::new(u64::from(word == 0));
        let bits = Arc::new(Bits { there: first(0), marks: core::array::from_fn(first) });
        let of_trim = bits.clone();
        let trim = move |chunk: &Chunk| {
            let taken = chunk.runs().take_scattered(0, of_trim.marks[0].peek());
            if taken != 0 {
                of_trim.there.unmark(taken);
                of_trim.marks[0].unmark(taken);
                chunk.runs().give_scattered(&core::array::from_fn(|word| if word == 0 { taken } else { 0 }));
            }
        };
        two(Chunk::new(0b11), trim, |chunk| {
            if let Some(offset) = chunk.runs().take_marked(Order(0), &bits.marks) {
                assert_eq!(offset, 0, "the other page was never marked");
                assert_eq!(bits.there.peek(), 1, "the system has that page");
                chunk.runs().give(offset, Order(0)).expect("it is ours");
            }
        });
    });
}

#[test]
fn loom_page_marks_are_looked_at_again() {
    marked_pages_have_been_touched();
}

#[test]
#[should_panic(expected = "the system has that page")]
fn loom_page_marks_catches_stale_ones() {
    Bug::StaleMarks.plant(marked_pages_have_been_touched);
}
