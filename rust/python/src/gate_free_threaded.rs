//! How calls show themselves without a GIL: at a turnstile, by plain stores to a thread's own line. The flags are its own.
#![forbid(unsafe_code)]

pub(crate) use haybarn::rcu::{Here, Watched, watch_thread as look_at_thread};
use haybarn::rcu::{Kind, Turnstile, Visit};
use haybarn::sync::Published;

use super::Does;

/// Where the counts wrap.
pub(super) const LARGEST_TALLY: u64 = u64::MAX;

/// See the module.
pub(super) struct Words(Turnstile);

/// A call that is inside.
pub(super) struct Stay<'w>(Visit<'w>);

impl Stay<'_> {
    pub(super) fn word(&self) -> &Published {
        self.0.word()
    }

    pub(super) fn count(&self, objects: u64) {
        self.0.count(objects);
    }
}

fn kind(does: Does) -> Kind {
    match does {
        Does::Alloc => Kind::Enter,
        Does::Free => Kind::Leave,
    }
}

impl Words {
    pub(super) fn new() -> Self {
        Self(Turnstile::new())
    }

    #[inline(always)]
    pub(super) fn short<R>(&self, here: &Here, does: Does, call: impl FnOnce() -> (R, bool)) -> Option<R> {
        self.0.pass(here, kind(does), call)
    }

    pub(super) fn enter(&self, does: Does) -> (Stay<'_>, u64) {
        let (visit, flags) = self.0.visit(kind(does));
        (Stay(visit), flags)
    }

    pub(super) fn flags(&self) -> u64 {
        self.0.flags()
    }

    pub(super) fn change(&self, raise: u64, lower: u64) {
        self.0.change(raise, lower);
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn forget_stays(&self, mine: impl Fn(&Published) -> u64) {
        self.0.forget_visits(mine);
    }

    pub(super) fn tally(&self) -> (u64, u64) {
        let [allocs, frees] = self.0.done();
        (allocs, frees)
    }
}
