//! The 128-bit compare-and-swap itself: `cmpxchg16b` on x86-64, `casp` on aarch64 with LSE, not there under a model checker.

use super::shim::AtomicU64;
use core::sync::atomic::Ordering;

/// True if this CPU swaps 128 bits at once.
pub(super) fn available() -> bool {
    #[cfg(any(loom, shuttle))]
    return false;
    #[cfg(all(target_arch = "x86_64", not(any(loom, shuttle))))]
    return std::arch::is_x86_feature_detected!("cmpxchg16b");
    #[cfg(all(target_arch = "aarch64", not(any(loom, shuttle))))]
    return std::arch::is_aarch64_feature_detected!("lse");
}

#[cfg(any(loom, shuttle))]
pub(super) fn swap(_: &AtomicU64, _: &AtomicU64, _: (u64, u64), _: (u64, u64), _: Ordering) -> bool {
    unreachable!("models use the packed form")
}

#[cfg(all(target_arch = "x86_64", not(any(loom, shuttle))))]
#[inline]
pub(super) fn swap(word0: &AtomicU64, word1: &AtomicU64, old: (u64, u64), new: (u64, u64), order: Ordering) -> bool {
    debug_assert_eq!(word0.as_ptr().addr() + 8, word1.as_ptr().addr());
    let _ = order; // a locked instruction is a full barrier whatever is asked for
    let same: u64;
    // SAFETY: `Form::Double` exists only where `available()` said that the instruction does. The two atomics are the two
    // halves of one 16-byte aligned `DoubleWord`. The instruction wants `rbx`, which LLVM keeps for itself, so it is put
    // back. Not `core::arch`'s intrinsic: where that is not inlined it calls a library that is not linked.
    unsafe {
        core::arch::asm!(
            "xchg {rbx}, rbx",
            "lock cmpxchg16b xmmword ptr [rdi]",
            "sete cl",
            "mov rbx, {rbx}",
            rbx = inout(reg) new.0 => _,
            in("rdi") word0.as_ptr(),
            inout("rcx") new.1 => same,
            inout("rax") old.0 => _,
            inout("rdx") old.1 => _,
            options(nostack),
        );
    }
    same & 0xff == 1
}

#[cfg(all(target_arch = "aarch64", not(any(loom, shuttle))))]
pub(super) fn swap(word0: &AtomicU64, word1: &AtomicU64, old: (u64, u64), new: (u64, u64), order: Ordering) -> bool {
    debug_assert_eq!(word0.as_ptr().addr() + 8, word1.as_ptr().addr());
    let _ = order; // `caspal` is acquire and release; a weaker form would gain nothing here
    let (seen0, seen1): (u64, u64);
    // SAFETY: `Form::Double` exists only where `available()` found LSE; the pair is 16-byte aligned and valid. `casp` wants
    // even-odd register pairs, hence the fixed registers.
    unsafe {
        core::arch::asm!(
            ".arch_extension lse",
            "caspal x4, x5, x6, x7, [{word}]",
            word = in(reg) word0.as_ptr(),
            inout("x4") old.0 => seen0, inout("x5") old.1 => seen1,
            in("x6") new.0, in("x7") new.1,
            options(nostack),
        );
    }
    (seen0, seen1) == old
}
