//! The random numbers of one thread of a run: the same for the same seed, scenario and thread.
#![forbid(unsafe_code)]

/// SplitMix64 (Steele, Lea, Flood 2014): one word of state, so that a thread's sequence depends on nothing but its seed.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The numbers of thread `thread` in scenario `scenario` under `seed`.
    #[must_use]
    pub fn new(seed: u64, scenario: &str, thread: u32) -> Self {
        let mut rng = Self(seed);
        for byte in scenario.bytes() {
            rng.0 = rng.next() ^ u64::from(byte);
        }
        rng.0 = rng.next() ^ u64::from(thread);
        rng.next();
        rng
    }

    /// 64 random bits.
    #[allow(
        clippy::should_implement_trait,
        reason = "not an iterator: it never ends and is drawn from by other methods"
    )]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        let wide = u128::from(self.next()) * end as u128;
        (wide >> 64) as usize
    }

    /// A number from `from` to `to`, both included.
    pub fn between(&mut self, from: usize, to: usize) -> usize {
        from + self.below(to - from + 1)
    }

    /// True once in `times`.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

#[cfg(test)]
#[path = "rng_tests.rs"]
mod tests;
