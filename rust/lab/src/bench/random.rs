//! Random numbers that cost about a nanosecond and are the same in every run.
#![forbid(unsafe_code)]

/// Marsaglia's xorshift64 with the multiplier of Vigna's xorshift64*.
pub struct Random(u64);

impl Random {
    /// A generator; equal seeds give equal numbers.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// 32 random bits.
    #[inline(always)]
    pub fn bits(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as u32
    }

    /// A number below `end`, by Lemire's multiplication (without the rejection: the bias is below 1 in 40,000 here).
    #[inline(always)]
    pub fn below(&mut self, end: u32) -> usize {
        ((u64::from(self.bits()) * u64::from(end)) >> 32) as usize
    }

    /// The numbers 0 to `n` - 1 in random order.
    #[must_use]
    pub fn permutation(&mut self, n: u16) -> Vec<u16> {
        let mut order: Vec<u16> = (0..n).collect();
        for at in (1..order.len()).rev() {
            order.swap(at, self.below(at as u32 + 1));
        }
        order
    }
}

#[cfg(test)]
#[path = "random_tests.rs"]
mod tests;
