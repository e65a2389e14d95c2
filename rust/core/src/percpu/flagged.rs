//! The backends with a flag per slot: `locked` asks the system for the CPU, `virtual` the caller.
//!
//! The flag is tried once; who finds it taken goes to the slab. A step that a fork cuts off leaves the flag with the parent's
//! generation, which the child takes over: every change of a slot is one store, so what it finds is whole.

use super::backend::{Closed, DrainIntent, Drained, PerCpu, virtual_cpu};
use super::slot::{Cpu, Pair, Slot, Slots};
use crate::os;

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
        if flag.try_take(os::fork::generation(), os::fork::is_stale) { Ok(Self(slot)) } else { Err(Closed) }
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

    fn set_main(&self, main: *mut u64) {
        // SAFETY: the flag is ours.
        unsafe { (*self.0).held.main = main }
    }
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
        let mut cursor = held.pair().main;
        let mut given = 0;
        for &object in objects {
            let next = cursor.wrapping_add(1);
            if next.addr() & mask == 0 {
                break;
            }
            // SAFETY: below the block's end and above the cursor: a free place of a sheaf that the flag makes ours.
            unsafe { *next = object as u64 };
            cursor = next;
            given += 1;
        }
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
                core::mem::forget(held);
                return Some(Drained { pair, rounds });
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

    unsafe fn install(&self, slots: Slots, cpu: Cpu, main: *mut u64) {
        // SAFETY: a new slot, which only the caller knows.
        unsafe { (*slots.of(cpu)).held = Pair { main, spare: core::ptr::null_mut() } }
    }

    unsafe fn peek(&self, slots: Slots, cpu: Cpu) -> Pair {
        // SAFETY: the caller's word; read as two words, exact when the cache is quiet.
        unsafe {
            let held = &raw const (*slots.of(cpu)).held;
            Pair { main: (&raw const (*held).main).read_volatile(), spare: (&raw const (*held).spare).read_volatile() }
        }
    }
}
