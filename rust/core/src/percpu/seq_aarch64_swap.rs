//! The swap of main and spare for aarch64: see `seq_x86_64_swap.rs`.

use super::{SIGNATURE, Slots, area, asm, offset};
use crate::percpu::stop;

/// See the x86-64 file.
///
/// # Safety
/// See the x86-64 file; so for both functions here.
#[inline(always)]
pub(crate) unsafe fn swap_empty(slots: Slots) -> bool {
    let done: u64;
    // SAFETY: as `alloc`.
    unsafe {
        sequence!([
            "add {slot}, {slots}, {slot}, lsl #{shift}",
            "ldr {t}, [{slot}, #{main}]",
            "cmp {t}, {stop}",
            "b.eq 7f",
            "ldr {top}, [{t}]",
            "cbnz {top}, 7f",
            "ldr {spare}, [{slot}, #{main} + 8]",
            "cbz {spare}, 7f",
            "ldr {top}, [{spare}]",
            "cbz {top}, 7f",
            "stp {spare}, {t}, [{slot}, #{main}]",
            "5: mov {t}, #1",
            "b 8f",
            "7: mov {t}, xzr",
            "8:",
        ]
            shift = const offset::SHIFT, main = const offset::PLAIN, slots = in(reg) slots.0, stop = in(reg) stop(),
            t = out(reg) done, slot = out(reg) _, spare = out(reg) _, top = out(reg) _, options(nostack));
    }
    done != 0
}

#[inline(always)]
pub(crate) unsafe fn swap_full(slots: Slots) -> bool {
    let done: u64;
    // SAFETY: as `alloc`.
    unsafe {
        sequence!([
            "add {slot}, {slots}, {slot}, lsl #{shift}",
            "ldr {t}, [{slot}, #{main}]",
            "cmp {t}, {stop}",
            "b.eq 7f",
            "ldr {mask}, [{slot}, #{at_mask}]",
            "add {next}, {t}, #8",
            "tst {next}, {mask}",
            "b.ne 7f",
            "ldr {spare}, [{slot}, #{main} + 8]",
            "cbz {spare}, 7f",
            "add {next}, {spare}, #8",
            "tst {next}, {mask}",
            "b.eq 7f",
            "stp {spare}, {t}, [{slot}, #{main}]",
            "5: mov {t}, #1",
            "b 8f",
            "7: mov {t}, xzr",
            "8:",
        ]
            shift = const offset::SHIFT, main = const offset::PLAIN, at_mask = const offset::MASK,
            slots = in(reg) slots.0, stop = in(reg) stop(),
            t = out(reg) done, slot = out(reg) _, spare = out(reg) _, next = out(reg) _, mask = out(reg) _,
            options(nostack));
    }
    done != 0
}
