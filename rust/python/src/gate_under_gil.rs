//! How calls show themselves under the GIL: two words, one for calls that allocate and one for those that free.
//!
//! ```text
//! | objects, so far : 45 | calls inside : 16 | long : 1 | closed : 1 | a destroyer is here : 1 |
//! ```
//!
//! A short call holds the GIL from its look at the flags to its count, by one load and one store of one word. A long call may
//! let go of the GIL, so it enters by an addition that also reads the flags.
#![forbid(unsafe_code)]

use haybarn::sync::Published;

use super::{CLOSED, Does, EXCLUSIVE, LONG};

const FLAGS: u64 = EXCLUSIVE | CLOSED | LONG;
/// One call inside.
const CALL: u64 = FLAGS + 1;
const CALLS: u64 = 0xffff * CALL;
/// One object; counts wrap without touching the rest of the word.
const OBJECT: u64 = CALL << 16;
/// Where the counts wrap.
pub(super) const LARGEST_TALLY: u64 = u64::MAX / OBJECT;
const OBJECTS_AT: u32 = OBJECT.trailing_zeros();

/// The calling thread during one call: it holds the GIL, and that is all there is to know.
pub(crate) struct Here;

impl Here {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self
    }
}

/// See the module.
pub(super) struct Words([Published; 2]);

/// A call that is inside.
pub(super) struct Stay<'w>(&'w Published);

impl Stay<'_> {
    pub(super) fn word(&self) -> &Published {
        self.0
    }

    pub(super) fn count(&self, objects: u64) {
        self.0.take(objects.wrapping_mul(OBJECT));
    }
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        self.0.take(CALL.wrapping_neg());
    }
}

impl Words {
    pub(super) fn new() -> Self {
        Self([Published::new(0), Published::new(0)])
    }

    fn word(&self, does: Does) -> &Published {
        &self.0[does as usize]
    }

    #[inline]
    pub(super) fn short<R>(&self, _: &Here, does: Does, call: impl FnOnce() -> (R, bool)) -> Option<R> {
        let word = self.word(does);
        let seen = word.read();
        if seen & FLAGS != 0 {
            return None;
        }
        let (result, moved) = call();
        // The GIL is held by everyone who writes the word.
        word.publish(if moved { seen.wrapping_add(OBJECT) } else { seen });
        Some(result)
    }

    pub(super) fn enter(&self, does: Does) -> (Stay<'_>, u64) {
        let word = self.word(does);
        let seen = word.take(CALL);
        (Stay(word), seen & FLAGS)
    }

    pub(super) fn flags(&self) -> u64 {
        self.0[0].read() & FLAGS
    }

    /// Raises some flags and lowers others in both words. Callers take turns: a cache's making, its destroyer, a fork's child.
    pub(super) fn change(&self, raise: u64, lower: u64) {
        for word in &self.0 {
            let flags = word.read() & FLAGS;
            let wanted = (flags | raise) & !lower;
            word.take(wanted.wrapping_sub(flags));
        }
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.0.iter().all(|word| word.read() & CALLS == 0)
    }

    pub(super) fn forget_stays(&self, mine: impl Fn(&Published) -> u64) {
        for word in &self.0 {
            word.publish((word.read() & !CALLS) | (mine(word) * CALL));
        }
    }

    pub(super) fn tally(&self) -> (u64, u64) {
        (self.0[0].read() >> OBJECTS_AT, self.0[1].read() >> OBJECTS_AT)
    }
}
