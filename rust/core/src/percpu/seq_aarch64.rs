//! The restartable sequences for aarch64. Built and assembled in the tests; not run on hardware yet.
//!
//! As `seq_x86_64.rs`, which says what each sequence does and promises. Two differences: the pair is committed by `stp`, which
//! is one access only with LSE2 (the backend is refused without), and a counting sequence adds to the count *before* its
//! commit, because count and cursor do not share an aligned 16 bytes: a try that is cut off counts twice.

use super::slot::{Cpu, Pair, Slot, Slots, offset};
use crate::os::rseq::{SIGNATURE, offset as area_offset, thread_pointer};
use core::arch::asm;

macro_rules! sequence {
    ([$($body:expr),* $(,)?] $($operands:tt)*) => {
        asm!(
            ".pushsection __rseq_cs, \"aw\"",
            ".balign 32",
            "3: .long 0, 0",
            ".quad 4f, 5f - 4f, 6f",
            ".popsection",
            ".pushsection .text.haybarn_rseq_failure, \"ax\"",
            ".inst {signature}",
            "6: b 2f",
            ".popsection",
            "2: adrp {t}, 3b",
            "add {t}, {t}, :lo12:3b",
            "str {t}, [{area}, #8]",
            "4: ldrsw {slot}, [{area}, #4]",
            $($body,)*
            signature = const SIGNATURE,
            area = in(reg) area(),
            $($operands)*
        )
    };
}

#[path = "seq_aarch64_swap.rs"]
mod swap;
pub(crate) use swap::{swap_empty, swap_full};

#[inline(always)]
fn area() -> *mut u8 {
    thread_pointer().wrapping_offset(area_offset())
}

/// See the x86-64 file.
///
/// # Safety
/// See the x86-64 file; so for every function here.
#[inline(always)]
pub(crate) unsafe fn alloc(slots: Slots) -> *mut u8 {
    let object;
    // SAFETY: the caller's word, here and below.
    unsafe {
        sequence!([
            "add {slot}, {slots}, {slot}, lsl #{shift}",
            "ldr {t}, [{slot}, #{main}]",
            "ldr {object}, [{t}]",
            "cbz {object}, 5f",
            "sub {t}, {t}, #8",
            "str {t}, [{slot}, #{main}]",
            "5:",
        ]
            shift = const offset::SHIFT, main = const offset::PLAIN, slots = in(reg) slots.0,
            t = out(reg) _, slot = out(reg) _, object = out(reg) object, options(nostack));
    }
    object
}

#[inline(always)]
pub(crate) unsafe fn alloc_at(at: *const Slots) -> *mut u8 {
    // SAFETY: the caller's word.
    unsafe { alloc(Slots(read(at.cast()) as *mut Slot)) }
}

#[inline(always)]
pub(crate) unsafe fn free_at(at: *const Slots, object: *mut u8) -> bool {
    // SAFETY: the caller's word.
    unsafe { free(Slots(read(at.cast()) as *mut Slot), object) }
}

#[inline(always)]
pub(crate) unsafe fn free(slots: Slots, object: *mut u8) -> bool {
    let room: u64;
    // SAFETY: as `alloc`.
    unsafe {
        sequence!([
            "add {slot}, {slots}, {slot}, lsl #{shift}",
            "ldr {t}, [{slot}, #{main}]",
            "ldr {room}, [{slot}, #{mask}]",
            "add {t}, {t}, #8",
            "ands {room}, {room}, {t}",
            "b.eq 5f",
            "str {object}, [{t}]",
            "str {t}, [{slot}, #{main}]",
            "5:",
        ]
            shift = const offset::SHIFT, main = const offset::PLAIN, mask = const offset::MASK,
            slots = in(reg) slots.0, object = in(reg) object,
            t = out(reg) _, slot = out(reg) _, room = out(reg) room, options(nostack));
    }
    room != 0
}

#[inline(always)]
pub(crate) unsafe fn alloc_counted(slots: Slots) -> *mut u8 {
    let object;
    // SAFETY: as `alloc`.
    unsafe {
        sequence!([
            "add {slot}, {slots}, {slot}, lsl #{shift}",
            "ldr {t}, [{slot}, #{main}]",
            "ldr {object}, [{t}]",
            "cbz {object}, 5f",
            "ldr {count}, [{slot}, #{hits}]",
            "adds {count:w}, {count:w}, #1",
            "b.cs 7f",
            "str {count:w}, [{slot}, #{hits}]",
            "sub {t}, {t}, #8",
            "str {t}, [{slot}, #{main}]",
            "5: b 8f",
            "7: mov {object}, xzr",
            "8:",
        ]
            shift = const offset::SHIFT, main = const offset::HELD, hits = const offset::HITS, slots = in(reg) slots.0,
            t = out(reg) _, slot = out(reg) _, count = out(reg) _, object = out(reg) object, options(nostack));
    }
    object
}

#[inline(always)]
pub(crate) unsafe fn free_counted(slots: Slots, object: *mut u8) -> bool {
    let room: u64;
    // SAFETY: as `alloc`.
    unsafe {
        sequence!([
            "add {slot}, {slots}, {slot}, lsl #{shift}",
            "ldr {t}, [{slot}, #{main}]",
            "ldr {room}, [{slot}, #{mask}]",
            "add {t}, {t}, #8",
            "ands {room}, {room}, {t}",
            "b.eq 5f",
            "str {object}, [{t}]",
            "ldr {count:w}, [{slot}, #{hits} + 4]",
            "adds {count:w}, {count:w}, #1",
            "b.cs 7f",
            "str {count:w}, [{slot}, #{hits} + 4]",
            "str {t}, [{slot}, #{main}]",
            "5: b 8f",
            "7: mov {room}, xzr",
            "8:",
        ]
            shift = const offset::SHIFT, main = const offset::HELD, hits = const offset::HITS, mask = const offset::MASK,
            slots = in(reg) slots.0, object = in(reg) object,
            t = out(reg) _, slot = out(reg) _, count = out(reg) _, room = out(reg) room, options(nostack));
    }
    room != 0
}

pub(crate) unsafe fn pop<const MAIN: usize>(slots: Slots, out: &mut [*mut u8]) -> usize {
    let taken;
    // SAFETY: as `alloc`.
    unsafe {
        sequence!([
            "add {slot}, {slots}, {slot}, lsl #{shift}",
            "ldr {t}, [{slot}, #{main}]",
            "mov {taken}, xzr",
            "7: cmp {taken}, {len}",
            "b.eq 8f",
            "ldr {object}, [{t}]",
            "cbz {object}, 8f",
            "str {object}, [{out}, {taken}, lsl #3]",
            "sub {t}, {t}, #8",
            "add {taken}, {taken}, #1",
            "b 7b",
            "8: cbz {taken}, 5f",
            "str {t}, [{slot}, #{main}]",
            "5:",
        ]
            shift = const offset::SHIFT, main = const MAIN,
            slots = in(reg) slots.0, out = in(reg) out.as_mut_ptr(), len = in(reg) out.len(),
            t = out(reg) _, slot = out(reg) _, object = out(reg) _, taken = out(reg) taken, options(nostack));
    }
    taken
}

pub(crate) unsafe fn push<const MAIN: usize>(slots: Slots, objects: &[*mut u8], mask: usize) -> usize {
    let given;
    // SAFETY: as `alloc`.
    unsafe {
        sequence!([
            "add {slot}, {slots}, {slot}, lsl #{shift}",
            "ldr {t}, [{slot}, #{main}]",
            "mov {given}, xzr",
            "7: cmp {given}, {len}",
            "b.eq 8f",
            "add {object}, {t}, #8",
            "tst {object}, {mask}",
            "b.eq 8f",
            "mov {t}, {object}",
            "ldr {object}, [{objects}, {given}, lsl #3]",
            "str {object}, [{t}]",
            "add {given}, {given}, #1",
            "b 7b",
            "8: cbz {given}, 5f",
            "str {t}, [{slot}, #{main}]",
            "5:",
        ]
            shift = const offset::SHIFT, main = const MAIN, mask = in(reg) mask, slots = in(reg) slots.0, objects = in(reg) objects.as_ptr(), len = in(reg) objects.len(),
            t = out(reg) _, slot = out(reg) _, object = out(reg) _, given = out(reg) given,
            options(nostack));
    }
    given
}

pub(crate) unsafe fn replace<const MAIN: usize>(slots: Slots, cpu: Cpu, old: Pair, new: Pair) -> bool {
    let done: u64;
    // SAFETY: as `alloc`.
    unsafe {
        sequence!([
            "cmp {slot:w}, {cpu:w}",
            "b.ne 7f",
            "add {slot}, {slots}, {slot}, lsl #{shift}",
            "ldr {t}, [{slot}, #{main}]",
            "cmp {t}, {old_main}",
            "b.ne 7f",
            "ldr {t}, [{slot}, #{main} + 8]",
            "cmp {t}, {old_spare}",
            "b.ne 7f",
            "stp {new_main}, {new_spare}, [{slot}, #{main}]",
            "5: mov {t}, #1",
            "b 8f",
            "7: mov {t}, xzr",
            "8:",
        ]
            shift = const offset::SHIFT, main = const MAIN, slots = in(reg) slots.0, cpu = in(reg) cpu,
            old_main = in(reg) old.main, old_spare = in(reg) old.spare,
            new_main = in(reg) new.main, new_spare = in(reg) new.spare,
            t = out(reg) done, slot = out(reg) _, options(nostack));
    }
    done != 0
}

#[inline(always)]
pub(crate) unsafe fn free_rcu(slots: Slots, object: *mut u8) -> bool {
    let room: u64;
    // SAFETY: as `alloc`.
    unsafe {
        sequence!([
            "add {slot}, {slots}, {slot}, lsl #{shift}",
            "ldr {t}, [{slot}, #{rcu}]",
            "ldr {room}, [{slot}, #{mask}]",
            "add {t}, {t}, #8",
            "ands {room}, {room}, {t}",
            "b.eq 5f",
            "str {object}, [{t}]",
            "str {t}, [{slot}, #{rcu}]",
            "5:",
        ]
            shift = const offset::SHIFT, rcu = const offset::RCU_FREE, mask = const offset::MASK,
            slots = in(reg) slots.0, object = in(reg) object,
            t = out(reg) _, slot = out(reg) _, room = out(reg) room, options(nostack));
    }
    room != 0
}

pub(crate) unsafe fn replace_rcu(slots: Slots, cpu: Cpu, old: *mut u64, new: *mut u64) -> bool {
    let done: u64;
    // SAFETY: as `alloc`.
    unsafe {
        sequence!([
            "cmp {slot:w}, {cpu:w}",
            "b.ne 7f",
            "add {slot}, {slots}, {slot}, lsl #{shift}",
            "ldr {t}, [{slot}, #{rcu}]",
            "cmp {t}, {old}",
            "b.ne 7f",
            "str {new}, [{slot}, #{rcu}]",
            "5: mov {t}, #1",
            "b 8f",
            "7: mov {t}, xzr",
            "8:",
        ]
            shift = const offset::SHIFT, rcu = const offset::RCU_FREE, slots = in(reg) slots.0, cpu = in(reg) cpu,
            old = in(reg) old, new = in(reg) new,
            t = out(reg) done, slot = out(reg) _, options(nostack));
    }
    done != 0
}

pub(crate) unsafe fn swap_remote_word(at: *mut u64, old: u64, new: u64) -> bool {
    let seen: u64;
    // SAFETY: the caller's word; LSE2 implies LSE.
    unsafe {
        asm!(
            ".arch_extension lse",
            "casal {old}, {new}, [{at}]",
            at = in(reg) at, new = in(reg) new, old = inout(reg) old => seen,
            options(nostack),
        );
    }
    seen == old
}

pub(crate) unsafe fn take_hits(slots: Slots, cpu: Cpu) -> u64 {
    let hits;
    // SAFETY: as `alloc`.
    unsafe {
        sequence!([
            "mov {hits}, xzr",
            "cmp {slot:w}, {cpu:w}",
            "b.ne 5f",
            "add {slot}, {slots}, {slot}, lsl #{shift}",
            "ldr {hits}, [{slot}, #{at}]",
            "str xzr, [{slot}, #{at}]",
            "5:",
        ]
            shift = const offset::SHIFT, at = const offset::HITS, slots = in(reg) slots.0, cpu = in(reg) cpu,
            t = out(reg) _, slot = out(reg) _, hits = out(reg) hits, options(nostack));
    }
    hits
}

/// log2 of the distance from one CPU's counters to the next one's.
pub(crate) const AREA_SHIFT: usize = 9;

pub(crate) unsafe fn add(counter: *mut u64, n: u64) {
    // SAFETY: as `alloc`.
    unsafe {
        sequence!([
            "add {slot}, {counter}, {slot}, lsl #{shift}",
            "ldr {t}, [{slot}]",
            "add {t}, {t}, {n}",
            "str {t}, [{slot}]",
            "5:",
        ]
            shift = const AREA_SHIFT, counter = in(reg) counter, n = in(reg) n,
            t = out(reg) _, slot = out(reg) _, options(nostack));
    }
}

pub(crate) unsafe fn read(word: *const u64) -> u64 {
    let value;
    // SAFETY: the caller's word.
    unsafe { asm!("ldar {v}, [{w}]", v = out(reg) value, w = in(reg) word, options(nostack, preserves_flags)) };
    value
}

pub(crate) unsafe fn write(word: *mut u64, value: u64) {
    // SAFETY: the caller's word.
    unsafe { asm!("stlr {v}, [{w}]", v = in(reg) value, w = in(reg) word, options(nostack, preserves_flags)) };
}

pub(crate) unsafe fn write_pair(at: *mut Pair, pair: Pair) {
    // SAFETY: the caller's word.
    unsafe {
        asm!("stp {main}, {spare}, [{at}]", at = in(reg) at, main = in(reg) pair.main, spare = in(reg) pair.spare,
            options(nostack, preserves_flags));
    }
}

pub(crate) unsafe fn swap_remote(at: *mut Pair, old: Pair, new: Pair) -> bool {
    let (seen_main, seen_spare): (*mut u64, *mut u64);
    // SAFETY: the caller's word; LSE2 implies LSE. `casp` wants even-odd register pairs.
    unsafe {
        asm!(
            ".arch_extension lse",
            "caspal x4, x5, x6, x7, [{at}]",
            at = in(reg) at,
            inout("x4") old.main => seen_main, inout("x5") old.spare => seen_spare,
            in("x6") new.main, in("x7") new.spare,
            options(nostack),
        );
    }
    seen_main == old.main && seen_spare == old.spare
}
