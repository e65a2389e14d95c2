//! An object in the hands of a replay: its memory, stamped over its whole length and verified before it goes back.
//!
//! The stamp depends on the object's number, so that an allocator that hands memory out twice, lets objects overlap, or
//! writes into live ones is found at the latest when the object is freed.
#![allow(unsafe_code)]

use std::ptr::NonNull;

/// Memory of one live object. Not `Clone`: who has it may free it, once.
#[derive(Debug)]
pub struct Block {
    address: NonNull<u8>,
    bytes: usize,
    key: u64,
}

// SAFETY: a block is the only owner of its memory, as a `Box` is.
unsafe impl Send for Block {}
// SAFETY: a shared block can only be read (`verify`, `address`), and nobody writes while it is shared.
unsafe impl Sync for Block {}

/// Where a block's contents are not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Address of the block.
    pub address: usize,
    /// Bytes from its start to the first word that is wrong.
    pub offset: usize,
}

const WORD: usize = size_of::<u64>();

impl Block {
    /// Takes over `bytes` bytes at `address` and stamps them for object number `id`.
    ///
    /// # Safety
    /// The memory is writable, belongs to nobody else, and stays so until the block is taken apart.
    pub unsafe fn stamped(address: NonNull<u8>, bytes: usize, id: u32) -> Block {
        let block = Block { address, bytes, key: scatter(id) };
        let words = bytes / WORD;
        for index in 0..words {
            // SAFETY: the word lies within the block's memory, which is ours; the address may be unaligned (malloc of the
            // system aligns to 16, so it never is; nothing relies on it).
            unsafe { address.cast::<u64>().add(index).write_unaligned(block.word(index)) };
        }
        let tail = block.word(words).to_le_bytes();
        for (index, byte) in tail.iter().enumerate().take(bytes % WORD) {
            // SAFETY: behind the last whole word and before the block's end.
            unsafe { address.add(words * WORD + index).write(*byte) };
        }
        block
    }

    /// Checks the stamp.
    ///
    /// # Errors
    /// The first word that differs.
    pub fn verify(&self) -> Result<(), Damage> {
        let words = self.bytes / WORD;
        let mut different = 0;
        for index in 0..words {
            // SAFETY: as in `stamped`; the memory was written there.
            different |= unsafe { self.address.cast::<u64>().add(index).read_unaligned() } ^ self.word(index);
        }
        let tail = self.word(words).to_le_bytes();
        for (index, byte) in tail.iter().enumerate().take(self.bytes % WORD) {
            // SAFETY: as in `stamped`.
            different |= u64::from(unsafe { self.address.add(words * WORD + index).read() } ^ byte);
        }
        if different == 0 { Ok(()) } else { Err(Damage { address: self.address(), offset: self.first_difference() }) }
    }

    /// The address, for checks and reports.
    #[must_use]
    pub fn address(&self) -> usize {
        self.address.addr().get()
    }

    /// Its length in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Ends the block: its memory is the caller's.
    #[must_use]
    pub fn into_raw(self) -> NonNull<u8> {
        self.address
    }

    fn word(&self, index: usize) -> u64 {
        self.key.wrapping_add(index as u64)
    }

    fn first_difference(&self) -> usize {
        (0..self.bytes)
            .find(|&at| {
                // SAFETY: `at` lies within the block.
                let byte = unsafe { self.address.add(at).read() };
                byte != self.word(at / WORD).to_le_bytes()[at % WORD]
            })
            .map_or(self.bytes, |at| at / WORD * WORD)
    }
}

/// Spreads an object's number over 64 bits (the finaliser of splitmix64), so that no two stamps share a word nearby.
fn scatter(id: u32) -> u64 {
    let mut x = (u64::from(id) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
#[path = "block_tests.rs"]
mod tests;
