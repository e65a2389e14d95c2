//! Runs of pages in one chunk: the bitmap, and the summary bits that say which orders the chunk may still have.
//!
//! Bitmap and summary change by one protocol, so they are one type. A chunk has eight summary bits: bit `o` for orders 0 to
//! 6, bit 7 for orders 7 to 9; set means "may have a free run". Giving back sets all of them, so a search that fails in a
//! chunk is paid for by something given back there before.
//!
//! Source: the bit fields of LLFree (Wrenger et al., USENIX ATC 2023), with summary bits instead of trees.

#![forbid(unsafe_code)]

use super::chunk::WORDS;
use super::field::{self, WORD_ORDER, WORD_PAGES};
use super::ids::Order;
use crate::sync::{BitWord, Bug, SummaryWord};

/// Summary bits of a chunk, and how many chunks share a word of them.
pub(super) const SUMMARY_BITS: u32 = 8;
pub(super) const CHUNKS_PER_WORD: u32 = 64 / SUMMARY_BITS;

/// The summary bits of every chunk in a word that say "may have `order`".
pub(super) const fn summary_mask(order: Order) -> u64 {
    0x0101_0101_0101_0101 << summary_bit(order)
}

const fn summary_bit(order: Order) -> u32 {
    if order.0 < 7 { order.0 as u32 } else { 7 }
}

/// Pages that were given back were not all taken: they had been given back before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NotTaken;

/// The runs of one chunk.
#[derive(Clone, Copy)]
pub(super) struct Runs<'a> {
    taken: &'a [BitWord; WORDS],
    summary: &'a SummaryWord,
    shift: u32,
}

impl<'a> Runs<'a> {
    /// The chunk that is number `chunk` on its node's `summary`, of which `word` is the one it is in.
    pub fn new(taken: &'a [BitWord; WORDS], word: &'a SummaryWord, chunk: u32) -> Self {
        Self { taken, summary: word, shift: chunk % CHUNKS_PER_WORD * SUMMARY_BITS }
    }

    /// Takes the lowest free run of `order`; the offset of its first page in the chunk. What its last owner did with the pages
    /// happened before.
    pub fn take(self, order: Order) -> Option<u32> {
        let found = if order.0 <= WORD_ORDER { self.take_field(order) } else { self.take_words(order) };
        if found.is_none() {
            self.lower(order);
        }
        found
    }

    /// As [`Runs::take`] for an order of at most 6, of pages that are all in `marks`. A mark that goes does so before the pages
    /// are given back, by who had taken them.
    pub fn take_marked(self, order: Order, marks: &[BitWord; WORDS]) -> Option<u32> {
        for (index, (word, marks)) in self.taken.iter().zip(marks).enumerate() {
            let mut seen = word.peek();
            while let Some(at) = field::find_free(seen | !marks.peek(), order.0) {
                let mask = field::mask(order.0, at);
                match word.try_take(seen, mask) {
                    // Somebody had them since we looked, and they lost their marks.
                    Ok(()) if marks.peek() & mask != mask && !Bug::StaleMarks.planted() => {
                        word.give(mask);
                        self.raise();
                        seen = word.peek();
                    }
                    Ok(()) => return Some(index as u32 * WORD_PAGES + at),
                    Err(now) => seen = now,
                }
            }
        }
        None
    }

    /// Gives the run of `order` at `offset` back.
    ///
    /// # Errors
    /// `NotTaken` if a page of it was free. Where that is seen in time nothing is changed.
    #[inline(always)]
    pub fn give(self, offset: u32, order: Order) -> Result<(), NotTaken> {
        let words = self.words_of(offset, order);
        let mask = field::mask(order.0.min(WORD_ORDER), offset % WORD_PAGES);
        if words.iter().any(|word| word.peek() & mask != mask) {
            return Err(NotTaken);
        }
        // Two that give the same run back at once both pass the look above; the words themselves tell them apart.
        let wrong = words.iter().filter(|word| word.give(mask) & mask != mask).count();
        self.raise();
        if wrong == 0 { Ok(()) } else { Err(NotTaken) }
    }

    /// Takes every page of word `index` that is free and that `wanted` asks for, whatever its order; the mask of these.
    pub fn take_scattered(self, index: usize, wanted: u64) -> u64 {
        let word = &self.taken[index];
        let mut seen = word.peek();
        loop {
            let mask = wanted & !seen;
            if mask == 0 {
                return 0;
            }
            match word.try_take(seen, mask) {
                Ok(()) => return mask,
                Err(now) => seen = now,
            }
        }
    }

    /// Gives back what [`Runs::take_scattered`] took.
    pub fn give_scattered(self, masks: &[u64; WORDS]) {
        for (word, &mask) in self.taken.iter().zip(masks) {
            if mask != 0 {
                word.give(mask);
            }
        }
        self.raise();
    }

    /// True if no page is taken.
    pub fn is_empty(self) -> bool {
        self.taken.iter().all(|word| word.peek() == 0)
    }

    /// Says that the chunk may have runs of every order.
    pub fn raise(self) {
        self.summary.raise(0xff << self.shift);
    }

    fn lower(self, order: Order) {
        // Bit 7 stands for three orders; only the smallest of them may speak for all.
        if order.0 <= 7 {
            let bits = 0xff << summary_bit(order) & 0xff;
            self.summary.lower(bits << self.shift, || self.has(order));
        }
    }

    fn take_field(self, order: Order) -> Option<u32> {
        for (index, word) in self.taken.iter().enumerate() {
            let mut seen = word.peek();
            while let Some(at) = field::find_free(seen, order.0) {
                match word.try_take(seen, field::mask(order.0, at)) {
                    Ok(()) => return Some(index as u32 * WORD_PAGES + at),
                    Err(now) => seen = now,
                }
            }
        }
        None
    }

    fn take_words(self, order: Order) -> Option<u32> {
        let count = 1 << (order.0 - WORD_ORDER);
        for (group, words) in self.taken.chunks_exact(count).enumerate() {
            if words.iter().any(|word| word.peek() != 0) {
                continue;
            }
            let got = words.iter().take_while(|word| word.try_take(0, !0).is_ok()).count();
            if got == count {
                return Some((group * count) as u32 * WORD_PAGES);
            }
            if got > 0 {
                self.undo(&words[..got]);
            }
        }
        None
    }

    /// Others may have seen these words full and lowered the summary, so it is raised as for any other giving back.
    fn undo(self, words: &[BitWord]) {
        for word in words {
            word.give(!0);
        }
        self.raise();
    }

    fn has(self, order: Order) -> bool {
        if order.0 <= WORD_ORDER {
            self.taken.iter().any(|word| field::find_free(word.peek(), order.0).is_some())
        } else {
            let count = 1 << (order.0 - WORD_ORDER);
            self.taken.chunks_exact(count).any(|words| words.iter().all(|word| word.peek() == 0))
        }
    }

    fn words_of(self, offset: u32, order: Order) -> &'a [BitWord] {
        let first = (offset / WORD_PAGES) as usize;
        let count = 1 << order.0.saturating_sub(WORD_ORDER);
        &self.taken[first..first + count]
    }
}

#[cfg(all(test, not(loom)))]
#[path = "runs_tests.rs"]
mod tests;

#[cfg(all(test, loom))]
#[path = "runs_models.rs"]
mod models;
