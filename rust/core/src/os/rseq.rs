//! The thread's rseq area: glibc's own where it registers one (2.35 and later), else ours.
//!
//! Both are found at a fixed distance from the thread pointer, so one offset serves every thread and both kinds. The offset
//! starts as that of our own area, whose CPU number reads -1 until the thread is registered: a fast path that runs too early
//! finds the slot of "CPU -1", which always misses.
//!
//! On musl, which refuses static TLS in libraries that are loaded later, this file is not built.
//!
//! Source: rseq(2); glibc's `__rseq_offset` and `__rseq_size`.

use core::arch::{asm, global_asm};
use std::io;
use std::sync::OnceLock;

/// What the abort handlers carry in front of them, as registered.
#[cfg(target_arch = "x86_64")]
pub(crate) const SIGNATURE: u32 = 0x5305_3053;
#[cfg(target_arch = "aarch64")]
pub(crate) const SIGNATURE: u32 = 0xd428_bc00;

const AREA_BYTES: u32 = 32;

// Our area, in the static TLS block, and the offset word that every fast path loads.
global_asm!(
    ".pushsection .tdata.haybarn_rseq,\"awT\",@progbits",
    ".balign 32",
    ".hidden haybarn_rseq_area",
    ".globl haybarn_rseq_area",
    ".type haybarn_rseq_area, @object",
    "haybarn_rseq_area:",
    ".long 0, -1, 0, 0, 0, 0, 0, 0",
    ".size haybarn_rseq_area, 32",
    ".popsection",
    ".pushsection .bss.haybarn_rseq_offset,\"aw\",@nobits",
    ".balign 8",
    ".hidden haybarn_rseq_offset",
    ".globl haybarn_rseq_offset",
    ".type haybarn_rseq_offset, @object",
    "haybarn_rseq_offset: .zero 8",
    ".size haybarn_rseq_offset, 8",
    ".popsection",
);

// A constructor asks for the area's offset: no data word can (lld refuses TPOFF64 in a shared library, and aarch64's assemblers
// have no such relocation).
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".pushsection .text.haybarn_rseq_init,\"ax\",@progbits",
    "8: mov rax, qword ptr [rip + haybarn_rseq_area@GOTTPOFF]",
    "mov qword ptr [rip + haybarn_rseq_offset], rax",
    "ret",
    ".popsection",
    ".pushsection .init_array.00001,\"aw\",@init_array",
    ".balign 8",
    ".quad 8b",
    ".popsection",
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".pushsection .text.haybarn_rseq_init,\"ax\",@progbits",
    "8: adrp x0, :gottprel:haybarn_rseq_area",
    "ldr x0, [x0, :gottprel_lo12:haybarn_rseq_area]",
    "adrp x1, haybarn_rseq_offset",
    "str x0, [x1, :lo12:haybarn_rseq_offset]",
    "ret",
    ".popsection",
    ".pushsection .init_array.00001,\"aw\",@init_array",
    ".balign 8",
    ".xword 8b",
    ".popsection",
);

unsafe extern "C" {
    /// Distance in bytes from the thread pointer to the rseq area in use. Written once, before any cache exists.
    static mut haybarn_rseq_offset: isize;
}

/// Distance in bytes from the thread pointer to the area.
///
/// Read in a way that lets the compiler keep it in a register across sequences, which clobber memory: the fast path is bound by
/// its loads and stores, and this load was a tenth of a pair.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn offset() -> isize {
    let offset;
    // SAFETY: written once before any cache exists. The first value is right too (it leads to slots that miss), so is one that
    // the compiler kept from before the write: the word counts as one that never changes.
    unsafe {
        asm!("mov {}, qword ptr [rip + {}]", out(reg) offset, sym haybarn_rseq_offset,
            options(pure, nomem, nostack, preserves_flags));
    }
    offset
}

/// Distance in bytes from the thread pointer to the area.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
pub(crate) fn offset() -> isize {
    // SAFETY: written once before any cache exists; the first value is right too (it leads to slots that miss).
    unsafe { haybarn_rseq_offset }
}

/// The address to which every thread-local offset is relative.
#[inline(always)]
pub(crate) fn thread_pointer() -> *mut u8 {
    let pointer;
    // SAFETY: reads the thread pointer: the word at fs:0 (x86-64 ABI), or the register tpidr_el0.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!("mov {p}, qword ptr fs:[0]", p = out(reg) pointer, options(nostack, readonly, preserves_flags));
        #[cfg(target_arch = "aarch64")]
        asm!("mrs {p}, tpidr_el0", p = out(reg) pointer, options(nostack, nomem, preserves_flags));
    }
    pointer
}

/// The CPU that this thread runs on, negative where its area is not registered.
#[inline]
pub(crate) fn cpu() -> i32 {
    // SAFETY: the area of every thread is there, registered or not; its second word is the CPU number, which the kernel
    // changes under us: hence volatile.
    unsafe { thread_pointer().wrapping_offset(offset()).cast::<i32>().add(1).read_volatile() }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Glibc,
    Ours,
}

impl Owner {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Glibc => "glibc's area",
            Self::Ours => "our own registration",
        }
    }
}

/// Makes restartable sequences usable by this process; says whose area they run in, or why not.
pub(crate) fn set_up() -> &'static Result<Owner, String> {
    static STATE: OnceLock<Result<Owner, String>> = OnceLock::new();
    STATE.get_or_init(|| {
        super::membarrier::register().map_err(|error| format!("membarrier refused: {error}"))?;
        if let Some(offset) = glibc_offset() {
            // SAFETY: nobody reads the offset before an arena exists, and `OnceLock` lets one thread through.
            unsafe { haybarn_rseq_offset = offset };
            return Ok(Owner::Glibc);
        }
        register_thread().map_err(|error| format!("rseq refused: {error}"))?;
        Ok(Owner::Ours)
    })
}

/// glibc's registered area, if it has one: a size of 0 means "not registered".
fn glibc_offset() -> Option<isize> {
    // SAFETY: the symbols are glibc's public constants of these types; a null result is checked.
    unsafe {
        let size = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_size".as_ptr()).cast::<libc::c_uint>();
        let offset = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr()).cast::<isize>();
        (!size.is_null() && !offset.is_null() && *size != 0).then(|| *offset)
    }
}

/// Registers the calling thread's own area; a thread that has one already is left as it is.
pub(crate) fn register_thread() -> io::Result<()> {
    if cpu() >= 0 {
        return Ok(());
    }
    // SAFETY: the area lies in this thread's TLS block, which outlives the thread's last return to user mode.
    let refused = unsafe {
        let area = thread_pointer().wrapping_offset(haybarn_rseq_offset);
        libc::syscall(libc::SYS_rseq, area, AREA_BYTES, 0, SIGNATURE)
    };
    if refused == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
