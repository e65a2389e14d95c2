//! The `rseq` backend: restartable sequences, and the drain of another CPU's slot.
//!
//! `PAIR` says which words of the slot hold the pair: the plain sequences' or the counting ones'.

use super::backend::{Closed, DrainIntent, Drained, PerCpu};
use super::seq;
use super::slot::{Cpu, Pair, Slots, no_sheaf, offset, stop};
use crate::os;
use crate::sync::Bug;

pub(crate) struct Rseq<const PAIR: usize>;

/// Caches that do not count their fast hits.
pub(crate) type Plain = Rseq<{ offset::PLAIN }>;
/// Caches that do.
pub(crate) type Counting = Rseq<{ offset::HELD }>;

impl<const PAIR: usize> Rseq<PAIR> {
    fn words(slots: Slots, cpu: Cpu) -> *mut Pair {
        slots.of(cpu).cast::<u8>().wrapping_add(PAIR).cast()
    }

    unsafe fn read(slots: Slots, cpu: Cpu) -> Pair {
        let words = Self::words(slots, cpu);
        // SAFETY: the caller passed slots of a living cache.
        unsafe {
            let main = seq::read((&raw const (*words).main).cast()) as *mut u64;
            Pair { main, spare: seq::read((&raw const (*words).spare).cast()) as *mut u64 }
        }
    }

    unsafe fn open(slots: Slots, cpu: Cpu, pair: Pair) {
        let words = Self::words(slots, cpu);
        // SAFETY: the slot is stopped and ours to open. Main comes last: until it is there, every sequence misses or leaves.
        unsafe {
            seq::write((&raw mut (*words).spare).cast(), pair.spare as u64);
            seq::write((&raw mut (*words).main).cast(), pair.main as u64);
        }
    }
}

impl<const PAIR: usize> PerCpu for Rseq<PAIR> {
    fn cpu(&self) -> Cpu {
        let cpu = os::rseq::cpu();
        if cpu >= 0 {
            return cpu;
        }
        // A thread's first step where glibc does not register threads. If the kernel refuses this one thread (it did not
        // refuse the first), the thread lives on without slots: every try misses and goes to the slab.
        let _ = os::rseq::register_thread();
        os::rseq::cpu().max(0)
    }

    unsafe fn pop(&self, slots: Slots, out: &mut [*mut u8]) -> Result<usize, Closed> {
        // SAFETY: the caller's word.
        let taken = unsafe { seq::pop::<PAIR>(slots, out) };
        // SAFETY: as above.
        if taken == 0 && unsafe { self.pair(slots, self.cpu()) }.is_stopped() {
            return Err(Closed);
        }
        Ok(taken)
    }

    unsafe fn push(&self, slots: Slots, objects: &[*mut u8], mask: usize) -> Result<usize, Closed> {
        // SAFETY: the caller's word.
        let given = unsafe { seq::push::<PAIR>(slots, objects, mask) };
        // SAFETY: as above.
        if given == 0 && unsafe { self.pair(slots, self.cpu()) }.is_stopped() {
            return Err(Closed);
        }
        Ok(given)
    }

    unsafe fn pair(&self, slots: Slots, cpu: Cpu) -> Pair {
        // SAFETY: the caller's word.
        unsafe { Self::read(slots, cpu) }
    }

    unsafe fn replace(&self, slots: Slots, cpu: Cpu, old: Pair, new: Pair) -> bool {
        debug_assert!(!old.is_stopped() && !new.is_stopped());
        if Bug::UnguardedSlot.planted() {
            // SAFETY: what the sequence needs, but for the sequence.
            return unsafe { replace_unguarded(Self::words(slots, cpu), old, new) };
        }
        // SAFETY: the caller's word.
        unsafe { seq::replace::<PAIR>(slots, cpu, old, new) }
    }

    unsafe fn drain(&self, slots: Slots, cpu: Cpu, intent: &DrainIntent) -> Option<Drained> {
        // SAFETY: the slot is alive.
        let flag = unsafe { &(*slots.of(cpu)).flag };
        if !flag.try_take(os::fork::generation(), |_| false) {
            return None;
        }
        let words = Self::words(slots, cpu);
        let mut got = Pair { main: core::ptr::null_mut(), spare: core::ptr::null_mut() };
        let mut rounds = 0;
        loop {
            // SAFETY: the caller's word.
            let seen = unsafe { Self::read(slots, cpu) };
            if seen == Pair::stopped() && rounds > 0 {
                return Some(Drained { pair: got, rcu: None, rounds });
            }
            // A word that is not the stop is newer than what was taken before: a sequence in flight committed it.
            let newer = |now: *mut u64, before: *mut u64| if now == stop() { before } else { now };
            let taken = Pair { main: newer(seen.main, got.main), spare: newer(seen.spare, got.spare) };
            // SAFETY: intent and pair belong to this slot, which the flag makes ours to drain.
            unsafe {
                seq::write_pair(intent.0, taken);
                if !seq::swap_remote(words, seen, Pair::stopped()) {
                    continue;
                }
            }
            got = taken;
            rounds += 1;
            os::membarrier::restart_sequences(cpu as u32);
        }
    }

    unsafe fn settle(&self, _: Slots, _: Cpu, pair: Pair, intent: &DrainIntent) {
        // SAFETY: the intent belongs to a slot that the caller drained. One store: a fork sees the old pair or the new one.
        unsafe { seq::write_pair(intent.0, pair) };
    }

    unsafe fn reopen(&self, slots: Slots, cpu: Cpu, pair: Pair, intent: &DrainIntent) {
        // SAFETY: the caller drained the slot; after a fork in between, the child would open it with what it gets here.
        unsafe {
            seq::write_pair(intent.0, pair);
            Self::open(slots, cpu, pair);
            (*slots.of(cpu)).flag.release();
        }
    }

    unsafe fn unpark(&self, slots: Slots, cpu: Cpu, intent: &DrainIntent) {
        // SAFETY: the slot is alive, stopped, and by its mark the caller's to open; the intent holds its empty main sheaf.
        unsafe {
            let taken = (*slots.of(cpu)).flag.try_take(os::fork::generation(), |mark| mark == os::fork::PARKED);
            debug_assert!(taken, "a parked slot changed hands");
            self.reopen(slots, cpu, intent.0.read_volatile(), intent);
        }
    }

    unsafe fn recover(&self, slots: Slots, cpu: Cpu, intent: &DrainIntent) {
        // SAFETY: the slot is alive.
        let flag = unsafe { &(*slots.of(cpu)).flag };
        let stale = |mark| mark != 0 && os::fork::is_stale(mark);
        if !flag.is_held_by(stale) || !flag.try_take(os::fork::generation(), stale) {
            return;
        }
        // SAFETY: the drainer and every sequence that was in flight stayed in the parent. What still reads the stop is what
        // the drainer had taken and written down before.
        unsafe {
            let (seen, taken) = (Self::read(slots, cpu), intent.0.read_volatile());
            let pick = |now: *mut u64, before: *mut u64| if now == stop() { before } else { now };
            let pair = Pair { main: pick(seen.main, taken.main), spare: pick(seen.spare, taken.spare) };
            // One that the drainer had opened is in use.
            if seen.is_stopped() {
                Self::open(slots, cpu, pair);
            }
            flag.release();
        }
    }

    unsafe fn push_rcu(&self, slots: Slots, objects: &[*mut u8], mask: usize) -> usize {
        // SAFETY: the caller's word.
        unsafe { seq::push::<{ offset::RCU_FREE }>(slots, objects, mask) }
    }

    unsafe fn rcu(&self, slots: Slots, cpu: Cpu) -> *mut u64 {
        // SAFETY: the caller's word.
        unsafe { seq::read(rcu_word(slots, cpu)) as *mut u64 }
    }

    unsafe fn replace_rcu(&self, slots: Slots, cpu: Cpu, old: *mut u64, new: *mut u64) -> bool {
        debug_assert!(old != stop() && new != stop());
        // SAFETY: the caller's word.
        unsafe { seq::replace_rcu(slots, cpu, old, new) }
    }

    unsafe fn drain_rcu(&self, slots: Slots, cpu: Cpu) -> Option<(*mut u64, u32)> {
        let word = rcu_word(slots, cpu);
        // Where the caller runs, a sequence takes it, as one takes a full sheaf: any other that was going on there starts over.
        // So a membarrier, which costs more than all the rest, is for other CPUs.
        // SAFETY: the caller's word; the sheaf that the commit displaces is the caller's.
        unsafe {
            let seen = seq::read(word) as *mut u64;
            let is_sheaf = seen != no_sheaf() && seen != stop();
            if is_sheaf && self.cpu() == cpu && seq::replace_rcu(slots, cpu, seen, no_sheaf()) {
                return Some((seen, 1));
            }
        }
        let (mut got, mut rounds) = (no_sheaf(), 0);
        loop {
            // SAFETY: the caller's word.
            let seen = unsafe { seq::read(word) };
            if seen == stop() as u64 && rounds > 0 {
                // SAFETY: the word reads the stop, so no sequence writes it until it is opened.
                unsafe { seq::write(word, no_sheaf() as u64) };
                return Some((got, rounds));
            }
            // Caches without sheaves keep the stop. Nobody but a drainer puts "no sheaf" there.
            if seen == stop() as u64 || seen == no_sheaf() as u64 {
                return None;
            }
            // SAFETY: as above. What a sequence in flight commits over the stop is newer than what was taken: a push onto the
            // same sheaf, or another sheaf, whose installer then owns the one that it displaced.
            if unsafe { seq::swap_remote_word(word, seen, stop() as u64) } {
                got = seen as *mut u64;
                rounds += 1;
                os::membarrier::restart_sequences(cpu as u32);
            }
        }
    }

    unsafe fn peek_rcu(&self, slots: Slots, cpu: Cpu) -> *mut u64 {
        // SAFETY: the caller's word.
        unsafe { self.rcu(slots, cpu) }
    }

    unsafe fn install(&self, slots: Slots, cpu: Cpu, main: *mut u64) {
        // SAFETY: a new slot, which only the caller knows.
        unsafe {
            Self::open(slots, cpu, Pair { main, spare: core::ptr::null_mut() });
            seq::write(rcu_word(slots, cpu), no_sheaf() as u64);
        }
    }

    unsafe fn peek(&self, slots: Slots, cpu: Cpu) -> Pair {
        // SAFETY: the caller's word.
        unsafe { Self::read(slots, cpu) }
    }

    unsafe fn take_hits(&self, slots: Slots, cpu: Cpu) -> (u64, u64) {
        // SAFETY: the caller's word.
        if PAIR == offset::HELD { halves(unsafe { seq::take_hits(slots, cpu) }) } else { (0, 0) }
    }

    unsafe fn peek_hits(&self, slots: Slots, cpu: Cpu) -> (u64, u64) {
        // SAFETY: the caller's word.
        halves(unsafe { seq::read((&raw const (*slots.of(cpu)).hits).cast()) })
    }
}

fn rcu_word(slots: Slots, cpu: Cpu) -> *mut u64 {
    slots.of(cpu).cast::<u8>().wrapping_add(offset::RCU_FREE).cast()
}

/// What [`Bug::UnguardedSlot`] does: between look and change, whoever comes is overwritten.
///
/// # Safety
/// The words are a pair of a slot of a living cache.
unsafe fn replace_unguarded(words: *mut Pair, old: Pair, new: Pair) -> bool {
    // SAFETY: the caller's word.
    let unchanged = unsafe { words.read_volatile() } == old;
    (0..20).for_each(|_| core::hint::spin_loop());
    if unchanged {
        // SAFETY: as above.
        unsafe { seq::write_pair(words, new) };
    }
    unchanged
}

const fn halves(hits: u64) -> (u64, u64) {
    (hits & 0xffff_ffff, hits >> 32)
}
