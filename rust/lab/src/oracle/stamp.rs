//! The contents of a held object: who holds it, written over it, so that whoever else writes there is seen and named.
//!
//! Word 0 is the tag itself, readable by whoever finds the object; word i mixes tag, address and i, so that a stamp copied to another
//! place, or one word of an older stamp, does not pass. Objects up to [`WHOLE`] bytes are stamped in full; of larger ones the first
//! word of each 64 byte line and the last word, so that checking does not cost more than the allocator that is checked.

use std::ptr::{self, NonNull};

/// Objects up to this size, in bytes, are stamped and compared as a whole.
pub const WHOLE: usize = 512;
const LINE: usize = 64;

/// Who holds an object: the thread's number in the run and how many objects it had before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(u64);

impl Tag {
    const NUMBER: u64 = (1 << 48) - 1;

    /// The `number`th object (from 1) of thread `thread`.
    #[must_use]
    pub fn new(thread: u32, number: u64) -> Self {
        Self((u64::from(thread + 1) << 48) | (number & Self::NUMBER))
    }

    /// The tag that a word seems to be; none if no worker of a run could have written it.
    #[must_use]
    pub fn read(word: u64) -> Option<Self> {
        ((1..=1024).contains(&(word >> 48)) && word & Self::NUMBER != 0).then_some(Self(word))
    }

    /// The tag as the word that it is, for [`Tag::read`].
    #[must_use]
    pub fn word0(self) -> u64 {
        self.0
    }

    fn word(self, address: usize, index: usize) -> u64 {
        if index == 0 {
            return self.0;
        }
        (self.0 ^ address as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(index as u64)
    }
}

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the stamp of thread {}, object number {}", (self.0 >> 48) - 1, self.0 & Self::NUMBER)
    }
}

/// A word that is not what its holder wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Where in the object, in bytes from its beginning.
    pub offset: usize,
    /// What the holder wrote there.
    pub expected: u64,
    /// What is there.
    pub seen: u64,
}

/// Writes the stamp of `tag` over the object.
///
/// # Safety
/// `object` is valid for writes of `bytes` bytes.
pub unsafe fn write(object: NonNull<u8>, bytes: usize, tag: Tag) {
    let address = object.as_ptr() as usize;
    for (offset, length) in places(bytes) {
        let word = tag.word(address, offset / 8).to_le_bytes();
        // SAFETY: `places` yields offsets and lengths within `bytes`, which the caller vouches for.
        unsafe { ptr::copy_nonoverlapping(word.as_ptr(), object.as_ptr().add(offset), length) };
    }
}

/// Compares the object with the stamp of `tag`.
///
/// # Errors
/// The first word that differs.
///
/// # Safety
/// `object` is valid for reads of `bytes` bytes. That another thread writes there at the same moment is the very thing looked for;
/// the bytes are then whatever the machine gives.
pub unsafe fn verify(object: NonNull<u8>, bytes: usize, tag: Tag) -> Result<(), Mismatch> {
    // SAFETY: the caller's promise.
    unsafe { verify_copy(object, bytes, tag, object.as_ptr() as usize, bytes) }
}

/// Compares the first `kept` bytes with those of a stamp that was written over `bytes` bytes at `address`.
///
/// # Errors
/// The first word that differs.
///
/// # Safety
/// `object` is valid for reads of `kept` bytes, as for [`verify`]; `kept` is at most `bytes`.
#[inline(never)]
pub unsafe fn verify_copy(
    object: NonNull<u8>,
    kept: usize,
    tag: Tag,
    address: usize,
    bytes: usize,
) -> Result<(), Mismatch> {
    let object = std::hint::black_box(object);
    let within = places(bytes).filter(|(offset, _)| *offset < kept);
    for (offset, length) in within.map(|(offset, length)| (offset, length.min(kept - offset))) {
        let mut seen = [0; 8];
        // SAFETY: as in `write`.
        unsafe { ptr::copy_nonoverlapping(object.as_ptr().add(offset), seen.as_mut_ptr(), length) };
        let mut expected = [0; 8];
        expected[..length].copy_from_slice(&tag.word(address, offset / 8).to_le_bytes()[..length]);
        if seen != expected {
            let (expected, seen) = (u64::from_le_bytes(expected), u64::from_le_bytes(seen));
            return Err(Mismatch { offset, expected, seen });
        }
    }
    Ok(())
}

/// The first byte that is not zero: its offset and value.
///
/// # Safety
/// `object` is valid for reads of `bytes` bytes.
pub unsafe fn first_nonzero(object: NonNull<u8>, bytes: usize) -> Option<(usize, u8)> {
    // SAFETY: the caller's promise; the slice is gone before this returns.
    let bytes = unsafe { std::slice::from_raw_parts(object.as_ptr(), bytes) };
    let offset = bytes.iter().position(|byte| *byte != 0)?;
    Some((offset, bytes[offset]))
}

/// Who seems to hold the object that begins here, read from a whole stamp of this address; none if there is no such stamp.
///
/// # Safety
/// `object` is valid for reads of `bytes` bytes, as for [`verify`].
pub unsafe fn holder(object: NonNull<u8>, bytes: usize) -> Option<Tag> {
    if bytes < 8 {
        return None;
    }
    // SAFETY: 8 of the bytes that the caller vouches for.
    let tag = Tag::read(unsafe { object.cast::<u64>().read_unaligned() })?;
    // A second word, where there is one, tells a stamp of this address from bytes in the middle of another object.
    let Some((second, _)) = places(bytes).nth(1).filter(|(_, length)| *length == 8) else {
        return Some(tag);
    };
    // SAFETY: `places` yields offsets and lengths within `bytes`.
    let seen = unsafe { object.add(second).cast::<u64>().read_unaligned() };
    (u64::from_le(seen) == tag.word(object.as_ptr() as usize, second / 8)).then_some(tag)
}

/// The offsets that carry a stamp, and how many bytes of the word fit.
fn places(bytes: usize) -> impl Iterator<Item = (usize, usize)> {
    let step = if bytes <= WHOLE { 8 } else { LINE };
    let tail = (bytes > WHOLE).then(|| (bytes - 1) / 8 * 8);
    (0..bytes).step_by(step).chain(tail).map(move |offset| (offset, (bytes - offset).min(8)))
}

#[cfg(test)]
#[path = "stamp_tests.rs"]
mod tests;
