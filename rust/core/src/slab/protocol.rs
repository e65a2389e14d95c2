#![forbid(unsafe_code)]
//! The slab protocol: how a slab's objects are given back and taken, how it dies, and who may touch its descriptor when.
//!
//! * A live slab is in its node's partial stack, or on its way there, exactly when its free count is above 0.
//! * Only the thread that popped it takes the count to 0; who takes it up from 0 pushes it.
//! * Who makes it wholly free may kill it: the pages go at once. If it was listed, its descriptor stays behind in the stack as
//!   a tombstone that whoever pops it buries.
//! * A cache may keep the pages of its dead for a while (`graveyard`): then the descriptor waits for the second of the two, who
//!   pops the tombstone and who frees the pages.
//!
//! Written over a small trait, so that the models run this text over ordinary memory. Sources: `__slab_free`,
//! `get_partial_node_bulk` and `__refill_objects_node` (mm/slub.c); docs/design.md says where this differs and why.

use super::descriptor::{ObjRef, SlabState};
use super::graveyard::{lay, let_go};
use super::node::NodeSlabs;
use super::slabs::Slabs;
use crate::stats::Stat;
use crate::sync::{Bug, Index};

/// Gives back a chain of `count` objects of one slab, linked from `head` to `tail`; the caller owns them.
///
/// # Panics
/// If the slab would have more free objects than it has: the caller freed something twice.
#[inline(always)]
pub(crate) fn free_chain<S: Slabs>(slabs: &S, slab: Index, head: ObjRef, tail: ObjRef, count: u32) {
    // Read before the swap: afterwards the slab may be dead and its descriptor another slab's.
    let (total, run, node) = (slabs.total(slab), slabs.run(slab), slabs.node(slab));
    loop {
        let seen = slabs.word(slab).load(slabs.form());
        slabs.set_next(slab, tail, seen.head);
        let free = seen.free + count;
        assert!(free <= total && !seen.dead, "a slab got back more objects than it has: something was freed twice");
        let listed = seen.free > 0;
        let dies = free == total
            && node.partial(slabs.form()) >= slabs.min_partial()
            && (!slabs.defers() || slabs.has_room_for_dead(node));
        let next = match dies {
            true if slabs.defers() => seen.killed_in_waiting(listed),
            true => seen.killed(),
            false => seen.with(head, free),
        };
        if !slabs.word(slab).swap(slabs.form(), seen, next) {
            slabs.count(Stat::CmpxchgDoubleFail, 1);
            continue;
        }
        match (dies, listed) {
            (false, true) => {}
            (false, false) => list(slabs, slab, node),
            (true, _) => died(slabs, slab, node, run, total, listed),
        }
        return;
    }
}

fn list<S: Slabs>(slabs: &S, slab: Index, node: &NodeSlabs) {
    slabs.count(Stat::FreeAddPartial, 1);
    node.push(slabs.form(), slabs, slab);
}

/// After the killing swap. A listed descriptor is not ours to touch: whoever pops it may bury it at any moment.
#[inline(always)]
fn died<S: Slabs>(slabs: &S, slab: Index, node: &NodeSlabs, run: S::Run, total: u32, listed: bool) {
    slabs.count(Stat::FreeSlab, 1);
    node.slab_gone(u64::from(total));
    if listed {
        slabs.count(Stat::FreeRemovePartial, 1);
        node.tombstone_left();
    }
    if slabs.defers() {
        lay(slabs, slab, node);
        return;
    }
    slabs.release(run);
    if listed {
        if Bug::ReuseListed.planted() {
            slabs.recycle(slab);
        }
    } else {
        slabs.recycle(slab);
    }
}

/// Buries the tombstone that the caller popped.
fn bury<S: Slabs>(slabs: &S, slab: Index) {
    // The node comes from the descriptor, which is the tombstone's until it is recycled.
    slabs.node(slab).tombstone_buried();
    if !slabs.defers() || let_go(slabs, slab) {
        slabs.recycle(slab);
    }
}

/// Takes the whole free list of a slab that the caller popped: its head and length. `None`: the slab had died, and its
/// tombstone is buried now.
pub(crate) fn take<S: Slabs>(slabs: &S, slab: Index) -> Option<(ObjRef, u32)> {
    loop {
        let seen = slabs.word(slab).load(slabs.form());
        if seen.dead {
            bury(slabs, slab);
            return None;
        }
        if slabs.word(slab).swap(slabs.form(), seen, seen.with(ObjRef::NONE, 0)) {
            return Some((seen.head, seen.free));
        }
        slabs.count(Stat::CmpxchgDoubleFail, 1);
    }
}

/// Gives back `count` objects chained from `head` of a slab whose list the caller took. The first try needs no walk to the
/// chain's tail: nobody may have freed into the slab meanwhile.
pub(crate) fn give_back<S: Slabs>(slabs: &S, slab: Index, head: ObjRef, count: u32) {
    let node = slabs.node(slab);
    let seen = slabs.word(slab).load(slabs.form());
    if seen.free == 0 && slabs.word(slab).swap(slabs.form(), seen, seen.with(head, count)) {
        list(slabs, slab, node);
        return;
    }
    let mut tail = head;
    for _ in 1..count {
        tail = slabs.next(slab, tail);
    }
    free_chain(slabs, slab, head, tail, count);
}

/// How a consumer leaves a free list that it was offered: how many it took, and the head of the rest.
pub(crate) struct Taken {
    pub used: u32,
    pub rest: ObjRef,
}

/// Most slabs popped by one swap.
const POP_BATCH: usize = if cfg!(loom) { 2 } else { 16 };
/// Tombstones buried by one refill before it turns to a new slab, so that its work is bounded.
const BURY_LIMIT: u32 = if cfg!(loom) { 2 } else { 256 };

/// Offers the free lists of a node's partial slabs to `consume` until `need` objects are taken or nothing is left. Returns
/// how many were taken.
pub(crate) fn harvest<S: Slabs>(
    slabs: &S,
    node: &NodeSlabs,
    need: u32,
    mut consume: impl FnMut(Index, ObjRef, u32) -> Taken,
) -> u32 {
    let (mut got, mut buried) = (0, 0);
    while got < need && buried < BURY_LIMIT {
        let mut batch = [0; POP_BATCH];
        let popped = node.pop_until(slabs.form(), slabs, &mut batch, || {
            let mut missing = need - got;
            move |slab: Index| {
                missing = missing.saturating_sub(slabs.word(slab).load(slabs.form()).free);
                missing == 0
            }
        });
        if popped == 0 {
            break;
        }
        let mut surplus = 0;
        for (at, &slab) in batch[..popped].iter().enumerate() {
            if got >= need {
                surplus = at;
                break;
            }
            let Some((head, free)) = take(slabs, slab) else {
                buried += 1;
                continue;
            };
            let taken = consume(slab, head, free);
            got += taken.used;
            if taken.used < free {
                give_back(slabs, slab, taken.rest, free - taken.used);
            }
        }
        if surplus > 0 {
            // Frees that came in meanwhile made the first slabs suffice; the order of the others is kept.
            for &slab in batch[surplus..popped].iter().rev() {
                node.push(slabs.form(), slabs, slab);
            }
        }
    }
    got
}

/// Publishes a new slab whose descriptor the caller filled: `head` and `free` are what the caller did not take for itself.
pub(crate) fn publish<S: Slabs>(slabs: &S, slab: Index, head: ObjRef, free: u32) {
    let seen = slabs.word(slab).load(slabs.form());
    let born = slabs.word(slab).swap(slabs.form(), seen, seen.reborn(head, free));
    debug_assert!(born, "a new slab's descriptor is the creator's alone");
    let node = slabs.node(slab);
    node.slab_made(u64::from(slabs.total(slab)));
    if free > 0 {
        node.push(slabs.form(), slabs, slab);
    }
}

/// Kills every wholly free slab of a node and sorts the others, fullest on top. Returns how many died. One slab is hidden
/// from refills at a time; the sorted ones wait in banks that refills pop from too.
pub(crate) fn shrink<S: Slabs>(slabs: &S, node: &NodeSlabs) -> u64 {
    let form = slabs.form();
    let mut died = 0;
    let dead = |seen: SlabState| if slabs.defers() { seen.killed_in_waiting(false) } else { seen.killed() };
    // Bounded: others may push as fast as we pop.
    for _ in 0..node.listed(form) {
        let Some(slab) = node.pop_unsorted(form, slabs) else { break };
        let seen = slabs.word(slab).load(form);
        let (total, run) = (slabs.total(slab), slabs.run(slab));
        if seen.dead {
            bury(slabs, slab);
        } else if seen.free == total && slabs.word(slab).swap(form, seen, dead(seen)) {
            died += 1;
            node.slab_gone(u64::from(total));
            if slabs.defers() {
                lay(slabs, slab, node);
            } else {
                slabs.release(run);
                slabs.recycle(slab);
            }
        } else {
            node.push_sorted(form, slabs, slab, seen.free, total);
        }
    }
    node.unsort(form, slabs);
    died
}

#[cfg(all(test, loom))]
#[path = "protocol_models.rs"]
mod models;
#[cfg(all(test, not(loom)))]
#[path = "protocol_tests.rs"]
mod tests;
