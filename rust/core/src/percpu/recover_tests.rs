//! What a forked child makes of a slot that a thread of the parent was draining: one test for each place where it may have been.

use super::backend::{BackendKind, DrainIntent, PerCpu, choose};
use super::rseq::{Plain, Rseq};
use super::slot::{Cpu, Pair, Slot, Slots, offset, stop};
use crate::os;
use crate::sync::Counter;

/// Sheaves for the cursors to point into; nobody follows them here.
struct Sheaves([u64; 4]);

impl Sheaves {
    fn pair(&mut self, main: usize, spare: usize) -> Pair {
        let first = (&raw mut self.0).cast::<u64>();
        let cursor = |at| first.wrapping_add(at);
        Pair { main: cursor(main), spare: cursor(spare) }
    }
}

/// Opens a slot that reads `slot` after its drainer of another process had written down `taken`; returns what it reads then.
fn recovered<const PAIR: usize>(slot: Pair, mut taken: Pair) -> Pair {
    let backend = Rseq::<PAIR>;
    let mut line = Slot { plain: slot, held: slot, ..Slot::closed() };
    let slots = Slots(&raw mut line);
    let intent = DrainIntent(&raw mut taken);
    let of_the_parent = os::fork::generation() + 1;
    assert!(os::fork::is_stale(of_the_parent) && line.flag.try_take(of_the_parent, |_| false));
    // SAFETY: slot and intent live, and nobody else knows them.
    unsafe {
        backend.recover(slots, 0, &intent);
        assert!(!(*slots.of(0)).flag.is_held_by(|mark| mark != 0), "nobody could drain the slot again");
        backend.peek(slots, 0)
    }
}

struct Shared(Slots);
// SAFETY: what threads do with a slot is what is tested.
unsafe impl Sync for Shared {}

impl Shared {
    fn get(&self) -> Slots {
        self.0
    }
}

fn each_kind(check: impl Fn(&dyn Fn(Pair, Pair) -> Pair)) {
    check(&|slot, taken| recovered::<{ offset::PLAIN }>(slot, taken));
    check(&|slot, taken| recovered::<{ offset::HELD }>(slot, taken));
}

#[test]
fn what_the_drainer_had_taken_comes_back() {
    each_kind(|recovered| {
        let taken = Sheaves([0; 4]).pair(0, 1);
        assert_eq!(recovered(Pair::stopped(), taken), taken);
    });
}

#[test]
fn what_a_sequence_committed_over_the_stop_is_newer() {
    each_kind(|recovered| {
        let mut sheaves = Sheaves([0; 4]);
        let (taken, popped) = (sheaves.pair(1, 2), sheaves.pair(0, 3));
        let over = Pair { main: popped.main, spare: stop() };
        assert_eq!(recovered(over, taken), Pair { main: popped.main, spare: taken.spare });
        let over = Pair { main: stop(), spare: popped.spare };
        assert_eq!(recovered(over, taken), Pair { main: taken.main, spare: popped.spare });
    });
}

/// The drainer writes the spare word, the main word, and releases the flag.
#[test]
fn a_slot_that_was_being_opened_opens() {
    each_kind(|recovered| {
        let settled = Sheaves([0; 4]).pair(0, 1);
        assert_eq!(recovered(Pair { main: stop(), spare: settled.spare }, settled), settled);
    });
}

/// Its drainer had opened it and not yet released the flag; threads of the child use it while another one recovers it.
#[test]
fn a_slot_that_was_open_is_left_alone() {
    const ROUNDS: u64 = 10_000_000;
    if choose(Some(BackendKind::Rseq)).is_err() {
        return;
    }
    let backend: Plain = Rseq;
    let mut sheaves = Sheaves([0; 4]);
    let pairs = [sheaves.pair(0, 1), sheaves.pair(2, 3)];
    let mut lines: Vec<Slot> = (0..os::possible_cpus()).map(|_| Slot { plain: pairs[0], ..Slot::closed() }).collect();
    let mut swaps = vec![0; lines.len()];
    let (slots, recoveries, done) = (Shared(Slots(lines.as_mut_ptr())), Counter::new(), Counter::new());
    let mut older = 0;
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let (slots, mut intent) = (slots.get(), Pair::stopped());
            while done.get() == 0 {
                recoveries.add(1);
                for cpu in 0..os::possible_cpus() as Cpu {
                    // SAFETY: slots and intent outlive the scope.
                    unsafe {
                        assert!((*slots.of(cpu)).flag.try_take(os::fork::generation() + 1, |_| false));
                        backend.recover(slots, cpu, &DrainIntent(&raw mut intent));
                    }
                }
            }
        });
        let mut rounds = 0;
        while rounds < ROUNDS || recoveries.get() < ROUNDS / 100 {
            rounds += 1;
            let cpu = backend.cpu();
            let swaps = &mut swaps[cpu as usize];
            // SAFETY: the slots outlive the scope; nobody follows the cursors.
            unsafe {
                if backend.replace(slots.get(), cpu, pairs[*swaps % 2], pairs[(*swaps + 1) % 2]) {
                    *swaps += 1;
                }
                older += u64::from(backend.peek(slots.get(), cpu) != pairs[*swaps % 2]);
            }
        }
        done.add(1);
    });
    assert_eq!(older, 0, "times that an older pair was there");
}
