#![forbid(unsafe_code)]
//! The graveyard: dead slabs whose pages may not go yet, because readers of a type-safe cache may still look at them, or
//! because their objects have destructors that nobody may run inside the slab protocol.
//!
//! * A dead slab's pages and page map words stay. It lies in one of its node's two lists, linked by its descriptor (so that
//!   nothing has to be allocated for it): first among those that **wait**, then among those that are **ripe**.
//! * Who takes it off a list owns it. Who took it off the ripe ones runs the destructors, then releases the pages.
//! * The descriptor of a slab that died listed is let go of by two: by who pops the tombstone and by who releases the pages. The
//!   second returns it to the pool.
//!
//! Sources: `free_slab` and `rcu_free_slab` (mm/slub.c); the kernel keeps its `rcu_head` in `struct slab` too.

use super::node::NodeSlabs;
use super::slabs::Slabs;
use crate::stats::Stat;
use crate::sync::{Bug, Index, Link, Links, TaggedStack};

/// The links of dead slabs.
struct Graves<'s, S>(&'s S);

impl<S: Slabs> Links for Graves<'_, S> {
    fn link(&self, index: Index) -> &Link {
        self.0.grave_link(index)
    }
}

/// Lays a slab that the caller has just killed in its node's grave.
pub(super) fn lay<S: Slabs>(slabs: &S, slab: Index, node: &NodeSlabs) {
    let (grave, form) = (node.grave(), slabs.form());
    grave.dead.add(1);
    match slabs.wait_for() {
        Some(stamp) => {
            slabs.set_stamp(slab, stamp);
            if grave.waiting.is_empty(form) {
                grave.oldest.set(stamp);
            }
            grave.waiting.push(form, &Graves(slabs), slab);
        }
        None => {
            grave.ripe.push(form, &Graves(slabs), slab);
        }
    };
}

/// Moves the slabs whose wait is over to the ripe ones. Returns whether some still wait.
pub(crate) fn ripen<S: Slabs>(slabs: &S, node: &NodeSlabs) -> bool {
    let (grave, form, links) = (node.grave(), slabs.form(), Graves(slabs));
    if grave.waiting.is_empty(form) {
        return false;
    }
    // Most of them wait for the same: who has one answer asks no more.
    let (mut over, mut not_over) = (None, None);
    let mut is_over = |stamp: u64| {
        if over.is_some_and(|known| stamp <= known) {
            return true;
        }
        if not_over.is_some_and(|known| stamp >= known) {
            return false;
        }
        let answer = Bug::NoGracePeriod.planted() || slabs.is_over(stamp);
        *(if answer { &mut over } else { &mut not_over }) = Some(stamp);
        answer
    };
    if !is_over(grave.oldest.get()) {
        return true;
    }
    let (mut kept, mut count, mut oldest) = (None, 0, u64::MAX);
    // Bounded: others may lay as fast as we look.
    for _ in 0..grave.waiting.len(form) {
        let Some(slab) = grave.waiting.pop(form, &links) else { break };
        let stamp = slabs.stamp(slab);
        if is_over(stamp) {
            grave.ripe.push(form, &links, slab);
            continue;
        }
        oldest = oldest.min(stamp);
        let (first, last) = kept.unwrap_or((slab, slab));
        if count > 0 {
            TaggedStack::chain(&links, last, slab);
        }
        kept = Some((first, slab));
        count += 1;
    }
    if let Some((first, last)) = kept {
        grave.oldest.set(oldest);
        grave.waiting.push_chain(form, &links, first, last, count);
    }
    count > 0
}

/// Takes a ripe slab: it is the caller's, who runs the destructors and then calls [`release_dead`].
pub(crate) fn exhume<S: Slabs>(slabs: &S, node: &NodeSlabs) -> Option<Index> {
    node.grave().ripe.pop(slabs.form(), &Graves(slabs))
}

/// What [`Bug::DestructUnowned`] does with a slab that it should keep to itself.
pub(crate) fn lay_back<S: Slabs>(slabs: &S, slab: Index) {
    slabs.node(slab).grave().ripe.push(slabs.form(), &Graves(slabs), slab);
}

/// Releases the pages of a dead slab that is the caller's, and its descriptor if the tombstone is buried already.
pub(crate) fn release_dead<S: Slabs>(slabs: &S, slab: Index) {
    // Read before letting go: afterwards the descriptor may be another slab's.
    let (run, node) = (slabs.run(slab), slabs.node(slab));
    slabs.release(run);
    slabs.count(Stat::ReapSlab, 1);
    if let_go(slabs, slab) {
        slabs.recycle(slab);
    }
    node.grave().dead.sub(1);
}

/// Lets go of a dead slab's descriptor. True for the second of the two, or the only one: it is the caller's to recycle.
pub(super) fn let_go<S: Slabs>(slabs: &S, slab: Index) -> bool {
    loop {
        let seen = slabs.word(slab).load(slabs.form());
        debug_assert!(seen.dead, "a slab that lives is let go of");
        if seen.is_let_go() || Bug::RecycleByFirst.planted() {
            return true;
        }
        if slabs.word(slab).swap(slabs.form(), seen, seen.let_go()) {
            return false;
        }
    }
}

#[cfg(all(test, loom))]
#[path = "graveyard_models.rs"]
mod models;
#[cfg(all(test, not(loom)))]
#[path = "graveyard_tests.rs"]
mod tests;
