//! The backends with a flag per slot: `locked` asks the system for the CPU, `virtual` the caller.
//!
//! The flag is tried once; who finds it taken goes to the slab. A step that a fork cuts off leaves the flag with the parent's
//! generation, which the child takes over: every change of a slot is one store, so what it finds is whole.

use super::backend::{Closed, DrainIntent, Drained, PerCpu, virtual_cpu};
use super::slot::{Cpu, Pair, Slot, Slots, no_sheaf, stop};
use crate::os;
use crate::sync::Bug;

/// Where the CPU number comes from.
pub(crate) enum Flagged {
    /// `locked`: the CPU that the thread runs on, modulo this count.
    System(u32),
    /// `virtual`: the CPU that the thread named, below this count.
    Named(u32),
}

/// A slot whose flag this thread holds.
struct Held(*mut Slot);

impl Held {
    /// # Safety
    /// `slot` is a slot of a living cache.
    unsafe fn try_enter(slot: *mut Slot) -> Result<Self, Closed> {
        // SAFETY: the caller's word; the flag is atomic.
        let flag = unsafe { &(*slot).flag };
        let taken = flag.try_take(os::fork::generation(), os::fork::is_stale) || Bug::UnguardedSlot.planted();
        if taken { Ok(Self(slot)) } else { Err(Closed) }
    }

    fn pair(&self) -> Pair {
        // SAFETY: the flag is ours, so nobody else touches `held`.
        unsafe { (*self.0).held }
    }

    /// One store, so that a fork sees the old pair or the new one.
    fn set_pair(&self, pair: Pair) {
        // SAFETY: the flag is ours.
        unsafe { super::seq::write_pair(&raw mut (*self.0).held, pair) }
    }

    fn set_rcu(&self, cursor: *mut u64) {
        // SAFETY: the flag is ours. Volatile: `peek_rcu` reads the word without the flag.
        unsafe { (&raw mut (*self.0).rcu_free).write_volatile(cursor) }
    }

    fn set_main(&self, main: *mut u64) {
        // SAFETY: the flag is ours.
        unsafe { (*self.0).held.main = main }
    }
}

/// Puts objects above a cursor while there is room; the new cursor, and how many.
///
/// # Safety
/// The cursor is that of a sheaf which is the caller's, in a block of `mask + 1` bytes; or one that always misses.
unsafe fn push_on(mut cursor: *mut u64, objects: &[*mut u8], mask: usize) -> (*mut u64, usize) {
    for (given, &object) in objects.iter().enumerate() {
        let next = cursor.wrapping_add(1);
        if next.addr() & mask == 0 {
            return (cursor, given);
        }
        // SAFETY: below the block's end and above the cursor: a free place of the sheaf.
        unsafe { *next = object as u64 };
        cursor = next;
    }
    (cursor, objects.len())
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: the slot is alive while somebody holds its flag.
        unsafe { (*self.0).flag.release() }
    }
}

impl PerCpu for Flagged {
    fn cpu(&self) -> Cpu {
        match *self {
            Self::System(cpus) => (os::current_cpu() % cpus) as Cpu,
            Self::Named(cpus) => (virtual_cpu() % cpus) as Cpu,
        }
    }

    unsafe fn pop(&self, slots: Slots, out: &mut [*mut u8]) -> Result<usize, Closed> {
        // SAFETY: the caller's word.
        let held = unsafe { Held::try_enter(slots.of(self.cpu()))? };
        let mut cursor = held.pair().main;
        let mut taken = 0;
        for place in out {
            // SAFETY: the cursor points into a sheaf block, whose lowest word in use reads null.
            let object = unsafe { *cursor } as *mut u8;
            if object.is_null() {
                break;
            }
            *place = object;
            cursor = cursor.wrapping_sub(1);
            taken += 1;
        }
        held.set_main(cursor);
        Ok(taken)
    }

    unsafe fn push(&self, slots: Slots, objects: &[*mut u8], mask: usize) -> Result<usize, Closed> {
        // SAFETY: the caller's word.
        let held = unsafe { Held::try_enter(slots.of(self.cpu()))? };
        // SAFETY: the flag makes the sheaf under the cursor ours.
        let (cursor, given) = unsafe { push_on(held.pair().main, objects, mask) };
        held.set_main(cursor);
        Ok(given)
    }

    unsafe fn pair(&self, slots: Slots, cpu: Cpu) -> Pair {
        // SAFETY: the caller's word.
        unsafe { Held::try_enter(slots.of(cpu)) }.map_or(Pair::stopped(), |held| held.pair())
    }

    unsafe fn replace(&self, slots: Slots, cpu: Cpu, old: Pair, new: Pair) -> bool {
        // SAFETY: the caller's word.
        let Ok(held) = (unsafe { Held::try_enter(slots.of(cpu)) }) else { return false };
        let unchanged = held.pair() == old;
        if unchanged {
            held.set_pair(new);
        }
        unchanged
    }

    /// Stays in the slot until `reopen`: the flag is the stop. Waits for a thread that is inside for a few instructions.
    unsafe fn drain(&self, slots: Slots, cpu: Cpu, _: &DrainIntent) -> Option<Drained> {
        let mut rounds = 1;
        loop {
            // SAFETY: the caller's word.
            if let Ok(held) = unsafe { Held::try_enter(slots.of(cpu)) } {
                let pair = held.pair();
                // SAFETY: the flag is ours.
                let rcu = unsafe { (*held.0).rcu_free };
                let rcu = (rcu != no_sheaf() && rcu != stop()).then_some(rcu);
                if rcu.is_some() {
                    held.set_rcu(no_sheaf());
                }
                core::mem::forget(held);
                return Some(Drained { pair, rcu, rounds });
            }
            // SAFETY: as above.
            if unsafe { self.is_parked(slots, cpu) } {
                return None;
            }
            rounds += 1;
            os::yield_now();
        }
    }

    unsafe fn settle(&self, slots: Slots, cpu: Cpu, pair: Pair, _: &DrainIntent) {
        // The flag is the drainer's.
        core::mem::ManuallyDrop::new(Held(slots.of(cpu))).set_pair(pair);
    }

    unsafe fn reopen(&self, slots: Slots, cpu: Cpu, pair: Pair, _: &DrainIntent) {
        let held = Held(slots.of(cpu));
        held.set_pair(pair);
    }

    /// The pair lies in the slot.
    unsafe fn unpark(&self, slots: Slots, cpu: Cpu, _: &DrainIntent) {
        // SAFETY: the slot is alive, and by its mark the caller's to open.
        unsafe { (*slots.of(cpu)).flag.release() }
    }

    /// The flag itself carries the generation: a stale one is taken over by the next thread that tries.
    unsafe fn recover(&self, _: Slots, _: Cpu, _: &DrainIntent) {}

    unsafe fn push_rcu(&self, slots: Slots, objects: &[*mut u8], mask: usize) -> usize {
        // SAFETY: the caller's word.
        let Ok(held) = (unsafe { Held::try_enter(slots.of(self.cpu())) }) else { return 0 };
        // SAFETY: the flag makes the word and the sheaf under it ours; where there is none, the cursor misses.
        let (cursor, given) = unsafe { push_on((*held.0).rcu_free, objects, mask) };
        held.set_rcu(cursor);
        given
    }

    unsafe fn rcu(&self, slots: Slots, cpu: Cpu) -> *mut u64 {
        // SAFETY: the caller's word; the flag is ours while we read.
        unsafe { Held::try_enter(slots.of(cpu)).map_or(stop(), |held| (*held.0).rcu_free) }
    }

    unsafe fn replace_rcu(&self, slots: Slots, cpu: Cpu, old: *mut u64, new: *mut u64) -> bool {
        debug_assert!(old != stop() && new != stop());
        // SAFETY: the caller's word.
        let Ok(held) = (unsafe { Held::try_enter(slots.of(cpu)) }) else { return false };
        // SAFETY: the flag is ours.
        let unchanged = unsafe { (*held.0).rcu_free } == old;
        if unchanged {
            held.set_rcu(new);
        }
        unchanged
    }

    unsafe fn drain_rcu(&self, slots: Slots, cpu: Cpu) -> Option<(*mut u64, u32)> {
        let mut rounds = 1;
        // SAFETY: the caller's word. Whatever was pushed before this call is seen here.
        while !matches!(unsafe { self.peek_rcu(slots, cpu) }, word if word == no_sheaf() || word == stop()) {
            // SAFETY: as above.
            if let Ok(held) = unsafe { Held::try_enter(slots.of(cpu)) } {
                // SAFETY: the flag is ours.
                let taken = unsafe { (*held.0).rcu_free };
                held.set_rcu(no_sheaf());
                return Some((taken, rounds)).filter(|_| taken != no_sheaf());
            }
            rounds += 1;
            os::yield_now();
        }
        None
    }

    unsafe fn peek_rcu(&self, slots: Slots, cpu: Cpu) -> *mut u64 {
        // SAFETY: the caller's word; one word, read at once.
        unsafe { (&raw const (*slots.of(cpu)).rcu_free).read_volatile() }
    }

    unsafe fn install(&self, slots: Slots, cpu: Cpu, main: *mut u64) {
        // SAFETY: a new slot, which only the caller knows.
        unsafe {
            (*slots.of(cpu)).held = Pair { main, spare: core::ptr::null_mut() };
            (*slots.of(cpu)).rcu_free = no_sheaf();
        }
    }

    unsafe fn peek(&self, slots: Slots, cpu: Cpu) -> Pair {
        // SAFETY: the caller's word; read as two words, exact when the cache is quiet.
        unsafe {
            let held = &raw const (*slots.of(cpu)).held;
            Pair { main: (&raw const (*held).main).read_volatile(), spare: (&raw const (*held).spare).read_volatile() }
        }
    }
}
