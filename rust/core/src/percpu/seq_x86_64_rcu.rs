//! The sequences on a slot's `rcu_free` word. It is a cursor like main's, alone: what changes it is one 8-byte store.

use super::{Cpu, SIGNATURE, Slots, area_offset, asm, offset};

/// Puts `object` on this CPU's rcu sheaf; false when it is full, not there or stopped, and on machines with several nodes.
///
/// # Safety
/// As `free`.
#[inline(always)]
pub(crate) unsafe fn free_rcu(slots: Slots, object: *mut u8) -> bool {
    // SAFETY: as for `free`.
    unsafe {
        sequence!([
            "shl {slot}, {shift}",
            "add {slot}, {slots}",
            "mov {t}, qword ptr [{slot} + {rcu}]",
            "add {t}, 8",
            "test qword ptr [{slot} + {mask}], {t}",
            "je {full}",
            "mov qword ptr [{t}], {object}",
            "mov qword ptr [{slot} + {rcu}], {t}",
            "5:",
        ]
            shift = const offset::SHIFT, rcu = const offset::RCU_FREE, mask = const offset::MASK,
            slots = in(reg) slots.0, area = in(reg) area_offset(), object = in(reg) object,
            t = out(reg) _, slot = out(reg) _, full = label { return false },
            options(nostack));
    }
    true
}

/// Changes the rcu sheaf of `cpu` from `old` to `new`, if this thread runs there and it is still `old`. What the commit
/// displaced belongs to the caller.
///
/// # Safety
/// As `alloc`; `old` is not the stop; the sheaf under `new` belongs to the caller.
pub(crate) unsafe fn replace_rcu(slots: Slots, cpu: Cpu, old: *mut u64, new: *mut u64) -> bool {
    let done: u64;
    // SAFETY: as for `alloc`.
    unsafe {
        sequence!([
            "cmp {slot:e}, {cpu:e}",
            "jne 7f",
            "shl {slot}, {shift}",
            "add {slot}, {slots}",
            "cmp qword ptr [{slot} + {rcu}], {old}",
            "jne 7f",
            "mov qword ptr [{slot} + {rcu}], {new}",
            "5: mov {t:e}, 1",
            "jmp 8f",
            "7: xor {t:e}, {t:e}",
            "8:",
        ]
            shift = const offset::SHIFT, rcu = const offset::RCU_FREE,
            slots = in(reg) slots.0, area = in(reg) area_offset(), cpu = in(reg) cpu,
            old = in(reg) old, new = in(reg) new,
            t = out(reg) done, slot = out(reg) _,
            options(nostack));
    }
    done != 0
}

/// Swaps one word of another CPU's slot for `new` if it is `old`.
///
/// # Safety
/// As `read`.
pub(crate) unsafe fn swap_remote_word(at: *mut u64, old: u64, new: u64) -> bool {
    let seen: u64;
    // SAFETY: the caller's word.
    unsafe {
        asm!("lock cmpxchg qword ptr [{at}], {new}", at = in(reg) at, new = in(reg) new, inout("rax") old => seen,
            options(nostack));
    }
    seen == old
}
