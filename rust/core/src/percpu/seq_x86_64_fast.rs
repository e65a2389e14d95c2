//! The inlined sequences, each in two forms: with the slots' address in a register, and, for static caches, with the address of
//! the word that holds it.
//!
//! The slot's address is computed into one register: processors forward a store to the next load at no cost when both name
//! their operand by base and displacement, and cursor to cursor a pair is nothing but two such loads.

use super::{SIGNATURE, Slots, area_offset, asm, offset};

macro_rules! alloc {
    ($base:literal, $value:expr) => {{
        let object;
        // SAFETY: by the caller's word the slot of every CPU number is there, and its cursor points into a sheaf block.
        unsafe {
            sequence!([
                "shl {slot}, {shift}",
                concat!("add {slot}, ", $base),
                "mov {t}, qword ptr [{slot} + {main}]",
                "mov {object}, qword ptr [{t}]",
                "test {object}, {object}",
                "je 5f",
                "sub {t}, 8",
                "mov qword ptr [{slot} + {main}], {t}",
                "5:",
            ]
                shift = const offset::SHIFT, main = const offset::PLAIN,
                slots = in(reg) $value, area = in(reg) area_offset(),
                t = out(reg) _, slot = out(reg) _, object = out(reg) object,
                options(nostack));
        }
        object
    }};
}

macro_rules! free {
    ($base:literal, $value:expr, $object:ident) => {{
        // SAFETY: as for `alloc`; the word that is written lies above the cursor inside the sheaf's block.
        unsafe {
            sequence!([
                "shl {slot}, {shift}",
                concat!("add {slot}, ", $base),
                "mov {t}, qword ptr [{slot} + {main}]",
                "add {t}, 8",
                "test qword ptr [{slot} + {mask}], {t}",
                "je {full}",
                "mov qword ptr [{t}], {object}",
                "mov qword ptr [{slot} + {main}], {t}",
                "5:",
            ]
                shift = const offset::SHIFT, main = const offset::PLAIN, mask = const offset::MASK,
                slots = in(reg) $value, area = in(reg) area_offset(), object = in(reg) $object,
                t = out(reg) _, slot = out(reg) _, full = label { return false },
                options(nostack));
        }
        true
    }};
}

/// Takes the top object of this CPU's main sheaf; null when it is empty or stopped.
///
/// # Safety
/// `slots` are those of a living cache, or ones that always miss.
#[inline(always)]
pub(crate) unsafe fn alloc(slots: Slots) -> *mut u8 {
    alloc!("{slots}", slots.0)
}

/// As [`alloc`], with the slots that `at` holds: one instruction less than to load them first.
///
/// # Safety
/// As [`alloc`], at any moment.
#[inline(always)]
pub(crate) unsafe fn alloc_at(at: *const Slots) -> *mut u8 {
    alloc!("qword ptr [{slots}]", at)
}

/// Puts `object` on this CPU's main sheaf; false when it is full or stopped. The full sheaf leaves by a label, so that the
/// caller needs no second test (`alloc` cannot: a label goes with no output on stable Rust).
///
/// # Safety
/// As [`alloc`]; `object` is an object of the cache that the caller owns.
#[inline(always)]
pub(crate) unsafe fn free(slots: Slots, object: *mut u8) -> bool {
    free!("{slots}", slots.0, object)
}

/// As [`free`], with the slots that `at` holds.
///
/// # Safety
/// As [`free`], at any moment.
#[inline(always)]
pub(crate) unsafe fn free_at(at: *const Slots, object: *mut u8) -> bool {
    free!("qword ptr [{slots}]", at, object)
}
