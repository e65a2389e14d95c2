//! The slow paths' commonest step by a sequence: main is used up, the spare is not, so they change places.
//!
//! Source: the swaps of `__pcs_replace_empty_main` and `__pcs_replace_full_main` (mm/slub.c).

use super::{SIGNATURE, Slots, area_offset, asm, offset};
use crate::percpu::stop;

/// Swaps this CPU's main and spare sheaves if main is empty and the spare is not. False: nothing was done.
///
/// # Safety
/// As `alloc`.
#[inline(always)]
pub(crate) unsafe fn swap_empty(slots: Slots) -> bool {
    // SAFETY: as for `alloc`. A slot that is opened has its spare before its main, so a stopped main is not swapped.
    unsafe {
        sequence!([
            "shl {slot}, {shift}",
            "add {slot}, {slots}",
            "mov {t}, qword ptr [{slot} + {main}]",
            "cmp {t}, {stop}",
            "je {other}",
            "cmp qword ptr [{t}], 0",
            "jne {other}",
            "mov {spare}, qword ptr [{slot} + {main} + 8]",
            "test {spare}, {spare}",
            "je {other}",
            "cmp qword ptr [{spare}], 0",
            "je {other}",
            "movq {old}, {t}",
            "movq {new}, {spare}",
            "punpcklqdq {new}, {old}",
            "movdqa xmmword ptr [{slot} + {main}], {new}",
            "5:",
        ]
            shift = const offset::SHIFT, main = const offset::PLAIN,
            slots = in(reg) slots.0, area = in(reg) area_offset(), stop = in(reg) stop(),
            t = out(reg) _, slot = out(reg) _, spare = out(reg) _,
            old = out(xmm_reg) _, new = out(xmm_reg) _, other = label { return false },
            options(nostack));
    }
    true
}

/// Swaps this CPU's main and spare sheaves if main is full and the spare is not. False: nothing was done.
///
/// # Safety
/// As `free`.
#[inline(always)]
pub(crate) unsafe fn swap_full(slots: Slots) -> bool {
    // SAFETY: as for `free`, and for `swap_empty`.
    unsafe {
        sequence!([
            "shl {slot}, {shift}",
            "add {slot}, {slots}",
            "mov {t}, qword ptr [{slot} + {main}]",
            "cmp {t}, {stop}",
            "je {other}",
            "lea {spare}, [{t} + 8]",
            "test qword ptr [{slot} + {mask}], {spare}",
            "jne {other}",
            "mov {spare}, qword ptr [{slot} + {main} + 8]",
            "test {spare}, {spare}",
            "je {other}",
            "movq {old}, {t}",
            "movq {new}, {spare}",
            "add {spare}, 8",
            "test qword ptr [{slot} + {mask}], {spare}",
            "je {other}",
            "punpcklqdq {new}, {old}",
            "movdqa xmmword ptr [{slot} + {main}], {new}",
            "5:",
        ]
            shift = const offset::SHIFT, main = const offset::PLAIN, mask = const offset::MASK,
            slots = in(reg) slots.0, area = in(reg) area_offset(), stop = in(reg) stop(),
            t = out(reg) _, slot = out(reg) _, spare = out(reg) _,
            old = out(xmm_reg) _, new = out(xmm_reg) _, other = label { return false },
            options(nostack));
    }
    true
}
