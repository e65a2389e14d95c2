//! The restartable sequences for x86-64.
//!
//! Each is a short text between its start and its commit, which is one store. If the thread is preempted, migrated or
//! interrupted by a signal inside, the kernel resumes it at the abort handler, which starts over. So what a sequence read
//! (CPU number, cursor) still holds when its commit executes, and no atomic instruction is needed. Registers only; the one
//! thing written outside the slot is above the cursor, where nobody looks.
//!
//! Source: rseq(2) and the kernel's tools/testing/selftests/rseq; the slot protocol in docs/design.md.

use super::slot::{Cpu, Pair, Slots, offset};
use crate::os::rseq::{SIGNATURE, offset as area_offset};
use core::arch::asm;

/// Arms the sequence that starts at label 4 and commits with the instruction in front of label 5; 2 is the restart.
macro_rules! sequence {
    ([$($body:expr),* $(,)?] $($operands:tt)*) => {
        asm!(
            ".pushsection __rseq_cs, \"aw\"",
            ".balign 32",
            "3: .long 0, 0",
            ".quad 4f, 5f - 4f, 6f",
            ".popsection",
            ".pushsection __rseq_failure, \"ax\"",
            ".byte 0x0f, 0xb9, 0x3d",
            ".long {signature}",
            "6: jmp 2f",
            ".popsection",
            "2: lea {t}, [rip + 3b]",
            "mov qword ptr fs:[{area} + 8], {t}",
            "4: movsxd {slot}, dword ptr fs:[{area} + 4]",
            $($body,)*
            signature = const SIGNATURE,
            $($operands)*
        )
    };
}

#[path = "seq_x86_64_fast.rs"]
mod fast;
#[path = "seq_x86_64_rcu.rs"]
mod rcu;
#[path = "seq_x86_64_swap.rs"]
mod swap;
pub(crate) use fast::{alloc, alloc_at, free, free_at};
pub(crate) use rcu::{free_rcu, replace_rcu, swap_remote_word};
pub(crate) use swap::{swap_empty, swap_full};

/// As [`alloc`], for a cache that counts its hits: cursor and count are committed by one 16-byte store, so the count is
/// exact. It misses when the count's half is about to wrap; the slow path then folds it away.
///
/// # Safety
/// As [`alloc`].
#[inline(always)]
pub(crate) unsafe fn alloc_counted(slots: Slots) -> *mut u8 {
    let object;
    // SAFETY: as for `alloc`.
    unsafe {
        sequence!([
            "shl {slot}, {shift}",
            "add {slot}, {slots}",
            "mov {t}, qword ptr [{slot} + {main}]",
            "mov {object}, qword ptr [{t}]",
            "test {object}, {object}",
            "je 5f",
            "sub {t}, 8",
            "movq {pair}, {t}",
            "mov {t}, qword ptr [{slot} + {hits}]",
            "add {t:e}, 1",
            "jc 7f",
            "mov {t:e}, 1",
            "add {t}, qword ptr [{slot} + {hits}]",
            "movq {low}, {t}",
            "punpcklqdq {low}, {pair}",
            "movdqu xmmword ptr [{slot} + {hits}], {low}",
            "5: jmp 8f",
            "7: xor {object:e}, {object:e}",
            "8:",
        ]
            shift = const offset::SHIFT, main = const offset::HELD, hits = const offset::HITS,
            slots = in(reg) slots.0, area = in(reg) area_offset(),
            t = out(reg) _, slot = out(reg) _, object = out(reg) object,
            pair = out(xmm_reg) _, low = out(xmm_reg) _,
            options(nostack));
    }
    object
}

/// As [`free`] for a cache that counts its hits.
///
/// # Safety
/// As [`free`].
#[inline(always)]
pub(crate) unsafe fn free_counted(slots: Slots, object: *mut u8) -> bool {
    let room: u64;
    // SAFETY: as for `free`.
    unsafe {
        sequence!([
            "shl {slot}, {shift}",
            "add {slot}, {slots}",
            "mov {t}, qword ptr [{slot} + {main}]",
            "add {t}, 8",
            "mov {room}, qword ptr [{slot} + {mask}]",
            "and {room}, {t}",
            "je 5f",
            "mov qword ptr [{t}], {object}",
            "movq {pair}, {t}",
            "mov {t:e}, 1",
            "shl {t}, 32",
            "add {t}, qword ptr [{slot} + {hits}]",
            "jc 7f",
            "movq {low}, {t}",
            "punpcklqdq {low}, {pair}",
            "movdqu xmmword ptr [{slot} + {hits}], {low}",
            "5: jmp 8f",
            "7: xor {room:e}, {room:e}",
            "8:",
        ]
            shift = const offset::SHIFT, main = const offset::HELD, hits = const offset::HITS, mask = const offset::MASK,
            slots = in(reg) slots.0, area = in(reg) area_offset(), object = in(reg) object,
            t = out(reg) _, slot = out(reg) _, room = out(reg) room,
            pair = out(xmm_reg) _, low = out(xmm_reg) _,
            options(nostack));
    }
    room != 0
}

/// Takes up to `out.len()` objects from this CPU's main sheaf, top first; returns how many. `MAIN` is the offset of the
/// pair that the cache uses.
///
/// # Safety
/// As [`alloc`].
pub(crate) unsafe fn pop<const MAIN: usize>(slots: Slots, out: &mut [*mut u8]) -> usize {
    let taken;
    // SAFETY: as for `alloc`; a restart writes the same places of `out` again.
    unsafe {
        sequence!([
            "shl {slot}, {shift}",
            "add {slot}, {slots}",
            "mov {t}, qword ptr [{slot} + {main}]",
            "xor {taken:e}, {taken:e}",
            "7: cmp {taken}, {len}",
            "je 8f",
            "mov {object}, qword ptr [{t}]",
            "test {object}, {object}",
            "je 8f",
            "mov qword ptr [{out} + {taken} * 8], {object}",
            "sub {t}, 8",
            "inc {taken}",
            "jmp 7b",
            "8: test {taken}, {taken}", // nothing taken, nothing to commit: the cursor may be the stop
            "je 5f",
            "mov qword ptr [{slot} + {main}], {t}",
            "5:",
        ]
            shift = const offset::SHIFT, main = const MAIN,
            slots = in(reg) slots.0, area = in(reg) area_offset(), out = in(reg) out.as_mut_ptr(), len = in(reg) out.len(),
            t = out(reg) _, slot = out(reg) _, object = out(reg) _, taken = out(reg) taken,
            options(nostack));
    }
    taken
}

/// Puts objects from the front of `objects` on this CPU's main sheaf while there is room; returns how many.
///
/// # Safety
/// As [`free`], for every object.
pub(crate) unsafe fn push<const MAIN: usize>(slots: Slots, objects: &[*mut u8], mask: usize) -> usize {
    let given;
    // SAFETY: as for `free`.
    unsafe {
        sequence!([
            "shl {slot}, {shift}",
            "add {slot}, {slots}",
            "mov {t}, qword ptr [{slot} + {main}]",
            "xor {given:e}, {given:e}",
            "7: cmp {given}, {len}",
            "je 8f",
            "lea {object}, [{t} + 8]",
            "test {object}, {mask}",
            "je 8f",
            "mov {t}, {object}",
            "mov {object}, qword ptr [{objects} + {given} * 8]",
            "mov qword ptr [{t}], {object}",
            "inc {given}",
            "jmp 7b",
            "8: test {given}, {given}",
            "je 5f",
            "mov qword ptr [{slot} + {main}], {t}",
            "5:",
        ]
            shift = const offset::SHIFT, main = const MAIN, mask = in(reg) mask,
            slots = in(reg) slots.0, area = in(reg) area_offset(),
            objects = in(reg) objects.as_ptr(), len = in(reg) objects.len(),
            t = out(reg) _, slot = out(reg) _, object = out(reg) _, given = out(reg) given,
            options(nostack));
    }
    given
}

/// Changes the pair of `cpu` from `old` to `new` by one 16-byte store, if this thread runs there and the pair is still `old`.
/// What the commit displaced belongs to the caller.
///
/// # Safety
/// As [`alloc`]; `old` is not stopped; the sheaves in `new` that are not in `old` belong to the caller.
pub(crate) unsafe fn replace<const MAIN: usize>(slots: Slots, cpu: Cpu, old: Pair, new: Pair) -> bool {
    let done: u64;
    // SAFETY: as for `alloc`; the pair is 16-byte aligned.
    unsafe {
        sequence!([
            "cmp {slot:e}, {cpu:e}",
            "jne 7f",
            "shl {slot}, {shift}",
            "add {slot}, {slots}",
            "cmp qword ptr [{slot} + {main}], {old_main}",
            "jne 7f",
            "cmp qword ptr [{slot} + {main} + 8], {old_spare}",
            "jne 7f",
            "movdqa xmmword ptr [{slot} + {main}], {new}",
            "5: mov {t:e}, 1",
            "jmp 8f",
            "7: xor {t:e}, {t:e}",
            "8:",
        ]
            shift = const offset::SHIFT, main = const MAIN,
            slots = in(reg) slots.0, area = in(reg) area_offset(), cpu = in(reg) cpu,
            old_main = in(reg) old.main, old_spare = in(reg) old.spare,
            new = in(xmm_reg) both(new),
            t = out(reg) done, slot = out(reg) _,
            options(nostack));
    }
    done != 0
}

/// Takes the hit counts of `cpu` (allocations low, frees high) and sets them to 0, if this thread runs there.
///
/// # Safety
/// As [`alloc`].
pub(crate) unsafe fn take_hits(slots: Slots, cpu: Cpu) -> u64 {
    let hits;
    // SAFETY: as for `alloc`.
    unsafe {
        sequence!([
            "xor {hits:e}, {hits:e}",
            "cmp {slot:e}, {cpu:e}",
            "jne 5f",
            "shl {slot}, {shift}",
            "add {slot}, {slots}",
            "mov {hits}, qword ptr [{slot} + {at}]",
            "mov qword ptr [{slot} + {at}], 0",
            "5:",
        ]
            shift = const offset::SHIFT, at = const offset::HITS,
            slots = in(reg) slots.0, area = in(reg) area_offset(), cpu = in(reg) cpu,
            t = out(reg) _, slot = out(reg) _, hits = out(reg) hits,
            options(nostack));
    }
    hits
}

/// log2 of the distance from one CPU's counters to the next one's.
pub(crate) const AREA_SHIFT: usize = 9;

/// Adds to the counter of the CPU that this thread runs on, given CPU 0's. One instruction reads, adds and writes, so no
/// other thread of that CPU can come in between, and other CPUs only read: exact without a locked instruction.
///
/// # Safety
/// There is a counter for every CPU number, -2 and -1 included, at this distance from each other.
pub(crate) unsafe fn add(counter: *mut u64, n: u64) {
    // SAFETY: the caller's word.
    unsafe {
        sequence!([
            "shl {slot}, {shift}",
            "add qword ptr [{counter} + {slot}], {n}",
            "5:",
        ]
            shift = const AREA_SHIFT, counter = in(reg) counter, n = in(reg) n, area = in(reg) area_offset(),
            t = out(reg) _, slot = out(reg) _,
            options(nostack));
    }
}

fn both(pair: Pair) -> core::arch::x86_64::__m128i {
    // SAFETY: SSE2 is part of x86-64.
    unsafe { core::arch::x86_64::_mm_set_epi64x(pair.spare as i64, pair.main as i64) }
}

/// Reads one word of a slot whose words change under restartable sequences of other CPUs.
///
/// # Safety
/// `word` is a word of a slot of a living cache.
pub(crate) unsafe fn read(word: *const u64) -> u64 {
    let value;
    // SAFETY: the caller's word. An aligned 8-byte load is whole on x86-64.
    unsafe {
        asm!("mov {v}, qword ptr [{w}]", v = out(reg) value, w = in(reg) word, options(nostack, preserves_flags))
    };
    value
}

/// Writes one word of a slot; everything written before is seen by who reads it (stores are ordered on x86-64).
///
/// # Safety
/// As [`read`].
pub(crate) unsafe fn write(word: *mut u64, value: u64) {
    // SAFETY: the caller's word.
    unsafe { asm!("mov qword ptr [{w}], {v}", v = in(reg) value, w = in(reg) word, options(nostack, preserves_flags)) };
}

/// Writes a pair by one store.
///
/// # Safety
/// As [`read`], and nobody else writes the pair meanwhile.
pub(crate) unsafe fn write_pair(at: *mut Pair, pair: Pair) {
    // SAFETY: the caller's word; `Pair` is 16-byte aligned.
    unsafe {
        asm!("movdqa xmmword ptr [{at}], {pair}", at = in(reg) at, pair = in(xmm_reg) both(pair),
            options(nostack, preserves_flags));
    }
}

/// Swaps another CPU's pair for `new` if it is `old`.
///
/// # Safety
/// As [`read`].
pub(crate) unsafe fn swap_remote(at: *mut Pair, old: Pair, new: Pair) -> bool {
    let swapped: u8;
    // SAFETY: the caller's word. rbx is LLVM's and may not be named, but `reg` may pick it: so every operand is named.
    unsafe {
        asm!(
            "xchg rsi, rbx",
            "lock cmpxchg16b xmmword ptr [rdi]",
            "sete r8b",
            "mov rbx, rsi",
            inout("rsi") new.main => _, in("rcx") new.spare,
            inout("rax") old.main => _, inout("rdx") old.spare => _,
            in("rdi") at, out("r8b") swapped,
            options(nostack),
        );
    }
    swapped != 0
}
