//! Who holds which bytes: one bit per grain of 8 bytes, set while somebody holds it, and one that says that an object begins there.
//!
//! Both bits of 32 grains share a word, so that 256 bytes cost one atomic operation. The words of one 2 MiB stretch of address space
//! lie in a leaf of 64 KiB; leaves are found by hashing the stretch's number and are
//! never freed, so that a lookup is a load and a compare, also in a forked child.
#![forbid(unsafe_code)]

use crossbeam_utils::atomic::AtomicCell;

const GRAIN: usize = 8;
/// Bytes under one word: its low half has the held bits, its high half the bits of beginnings.
const WORD: usize = GRAIN * 32;
const STRETCH: usize = 2 << 20;
const WORDS: usize = STRETCH / WORD;
const SLOTS: usize = 1 << 12;

struct Leaf {
    stretch: usize,
    bits: Box<[AtomicCell<u64>]>,
    next: AtomicCell<Option<&'static Leaf>>,
}

impl PartialEq for Leaf {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Leaf {}

impl Leaf {
    fn leaked(stretch: usize) -> &'static Self {
        let bits = (0..WORDS).map(|_| AtomicCell::new(0)).collect();
        Box::leak(Box::new(Self { stretch, bits, next: AtomicCell::new(None) }))
    }
}

/// Bits over the whole address space, made as it is touched. Any thread may use it at any time; nothing in it waits.
pub struct Claims {
    slots: Box<[AtomicCell<Option<&'static Leaf>>]>,
}

/// Somebody holds bytes that were claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The first byte, rounded down to 8, that somebody holds.
    pub first: usize,
    /// What somebody holds begins where the claim does.
    pub an_object_begins_here: bool,
}

impl Default for Claims {
    fn default() -> Self {
        Self::new()
    }
}

impl Claims {
    /// A table in which nobody holds anything.
    #[must_use]
    pub fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| AtomicCell::new(None)).collect() }
    }

    /// Whether claiming so many bytes would allocate nothing: what a signal handler has to ask first.
    #[must_use]
    pub fn knows(&self, address: usize, bytes: usize) -> bool {
        let end = address + bytes.max(1) - 1;
        (address / STRETCH..=end / STRETCH).all(|stretch| {
            let mut place = &self.slots[stretch % SLOTS];
            while let Some(leaf) = place.load() {
                if leaf.stretch == stretch {
                    return true;
                }
                place = &leaf.next;
            }
            false
        })
    }

    /// Claims `bytes` bytes from `address`.
    ///
    /// # Errors
    /// [`Taken`] when any of them is held already; then the claim leaves no trace.
    pub fn claim(&self, address: usize, bytes: usize) -> Result<(), Taken> {
        for (word, mask) in words(address, bytes) {
            let wanted = mask | begins(address, word);
            let before = self.bits(word).fetch_or(wanted);
            let held = before & mask;
            if held != 0 {
                self.undo(address, bytes, word, before);
                let first = word + held.trailing_zeros() as usize * GRAIN;
                // As this word was: by now the holder may have let go. What begins at the address is in the first word.
                let here = before & begins(address, word) != 0;
                return Err(Taken { first, an_object_begins_here: here });
            }
        }
        Ok(())
    }

    /// Gives `bytes` bytes from `address` back.
    ///
    /// # Errors
    /// The first address, rounded down to 8, that nobody held.
    pub fn release(&self, address: usize, bytes: usize) -> Result<(), usize> {
        let mut missing = Ok(());
        for (word, mask) in words(address, bytes) {
            let before = self.bits(word).fetch_and(!(mask | begins(address, word)));
            let lost = !before & mask;
            if lost != 0 && missing.is_ok() {
                missing = Err(word + lost.trailing_zeros() as usize * GRAIN);
            }
        }
        missing
    }

    /// Takes back the bits that a failed claim has set: all before `last`, and those of `last` that were not there `before`.
    fn undo(&self, address: usize, bytes: usize, last: usize, before: u64) {
        for (word, mask) in words(address, bytes).take_while(|(word, _)| *word <= last) {
            let ours = mask | begins(address, word);
            self.bits(word).fetch_and(!(if word == last { ours & !before } else { ours }));
        }
    }

    fn bits(&self, address: usize) -> &'static AtomicCell<u64> {
        &self.leaf(address / STRETCH).bits[address % STRETCH / WORD]
    }

    fn leaf(&self, stretch: usize) -> &'static Leaf {
        let mut place = &self.slots[stretch % SLOTS];
        let mut made = None;
        loop {
            match place.load() {
                Some(leaf) if leaf.stretch == stretch => return leaf,
                Some(leaf) => place = &leaf.next,
                None => {
                    let leaf = *made.get_or_insert_with(|| Leaf::leaked(stretch));
                    if place.compare_exchange(None, Some(leaf)).is_ok() {
                        return leaf;
                    }
                }
            }
        }
    }
}

/// The words under `bytes` bytes from `address`: each word's first address, and the held bits that are meant.
fn words(address: usize, bytes: usize) -> impl Iterator<Item = (usize, u64)> {
    let end = address + bytes.max(1);
    (address / WORD * WORD..end).step_by(WORD).map(move |word| {
        let low = address.saturating_sub(word) / GRAIN;
        let high = (end - word).min(WORD).div_ceil(GRAIN);
        (word, u64::from((u32::MAX << low) & (u32::MAX >> (32 - high))))
    })
}

/// The bit of the beginning at `address`, if it lies in the word of first address `word`.
fn begins(address: usize, word: usize) -> u64 {
    match address.checked_sub(word) {
        Some(offset) if offset < WORD => 1 << (32 + offset / GRAIN),
        _ => 0,
    }
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
