#![forbid(unsafe_code)]
//! A node's lists of dead slabs, see `graveyard`.

use crate::sync::{Counter, Form, TaggedStack};

/// A node's dead slabs. All zeros is none.
#[repr(C)]
pub(crate) struct Grave {
    pub(super) waiting: TaggedStack,
    pub(super) ripe: TaggedStack,
    pub(super) dead: Counter,
    /// A stamp that none of those which wait is much older than: while it is not over, nobody needs to look at them.
    pub(super) oldest: Counter,
}

impl Grave {
    pub fn new(form: Form) -> Self {
        Self {
            waiting: TaggedStack::new(form),
            ripe: TaggedStack::new(form),
            dead: Counter::new(),
            oldest: Counter::new(),
        }
    }

    /// Dead slabs whose pages have not gone, those in a reaper's hands included.
    pub fn dead(&self) -> u64 {
        self.dead.get()
    }

    /// Whether nobody could take a dead slab now.
    pub fn is_empty(&self, form: Form) -> bool {
        self.waiting.is_empty(form) && self.ripe.is_empty(form)
    }

    /// Whether a dead slab has waited long enough.
    pub fn has_ripe(&self, form: Form) -> bool {
        !self.ripe.is_empty(form)
    }

    /// Forgets the dead: in a forked child, when all that there were have been found some other way.
    pub fn set_none_dead(&self) {
        self.dead.set(0);
    }
}
