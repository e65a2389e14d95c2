//! Address ranges: reserve, give back, advise.
//!
//! A range is reserved readable and writable with `MAP_NORESERVE` and committed by touching, so that growing takes no
//! system call. What a range costs before it is touched is address space only.

use core::ptr::{NonNull, null_mut};
use std::io;

/// Bytes of a transparent huge page; every range is aligned to it.
pub(crate) const HUGE_PAGE: usize = 2 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Backing {
    /// Private anonymous memory: a fork copies it on write.
    Private,
    /// A shared `memfd`: a fork **shares** it, so parent and child see each other's writes.
    Memfd,
}

/// A reserved range; unmapped when dropped, and never otherwise.
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
    backing: Backing,
}

// SAFETY: a `Mapping` is an address and a length; what lies in the range is reached by raw pointers or by `Area`, which
// has its own rules for sharing.
unsafe impl Send for Mapping {}
// SAFETY: as above; every method on `&self` is a system call that the kernel serialises, or reads fields never written.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Reserves `len` bytes (a multiple of 2 MiB) of private anonymous memory, aligned to 2 MiB, all zeros.
    ///
    /// # Errors
    /// What `mmap` said: `ENOMEM` under `RLIMIT_AS` or with `vm.overcommit_memory = 2`.
    pub fn anonymous(len: usize) -> io::Result<Self> {
        debug_assert!(len > 0 && len.is_multiple_of(HUGE_PAGE));
        let wide = len + HUGE_PAGE;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let start = unsafe { map(null_mut(), wide, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1) }?;
        let skip = start.addr().get().next_multiple_of(HUGE_PAGE) - start.addr().get();
        // SAFETY: `skip` is below 2 MiB, so the sum stays inside the `wide` bytes just mapped. The two cuts are the parts
        // of that mapping outside [base, base + len), and nobody knows their addresses.
        unsafe {
            let base = start.add(skip);
            unmap(start, skip);
            unmap(base.add(len), HUGE_PAGE - skip);
            Ok(Self { base, len, backing: Backing::Private })
        }
    }

    /// Reserves `len` bytes (a multiple of 2 MiB) backed by a new `memfd`, aligned to 2 MiB, all zeros. The mapping is
    /// shared: a forked child sees the parent's later writes and the parent the child's.
    ///
    /// # Errors
    /// What `memfd_create`, `ftruncate` or `mmap` said, e.g. `EFBIG` under `RLIMIT_FSIZE`.
    pub fn memfd(len: usize) -> io::Result<Self> {
        let mut range = Self::anonymous(len)?;
        // SAFETY: the name is a valid C string; the call makes a new descriptor and nothing else.
        let fd = check(unsafe { libc::memfd_create(c"haybarn".as_ptr(), libc::MFD_CLOEXEC) })?;
        let mapped = (|| {
            let size = libc::off_t::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
            // SAFETY: `fd` is ours and open.
            check(unsafe { libc::ftruncate(fd, size) })?;
            // SAFETY: `range` is ours alone and empty, so replacing its pages destroys nothing.
            unsafe { map(range.base.as_ptr(), len, libc::MAP_SHARED | libc::MAP_FIXED, fd) }
        })();
        // SAFETY: `fd` is ours; the mapping holds its own reference to the file.
        unsafe { libc::close(fd) };
        range.base = mapped?;
        range.backing = Backing::Memfd;
        Ok(range)
    }

    /// First address.
    #[inline]
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Asks for transparent huge pages in the whole range (`MADV_HUGEPAGE`).
    ///
    /// # Errors
    /// `EINVAL` from a kernel that was built without them.
    pub fn advise_huge(&self) -> io::Result<()> {
        // SAFETY: advice about pages of our own range; it changes no contents.
        check(unsafe { libc::madvise(self.base.as_ptr().cast(), self.len, libc::MADV_HUGEPAGE) }).map(|_| ())
    }

    /// Has the pages of [offset, offset + len) that are not there yet come from a node (below 64) while it has memory, else from
    /// the nearest that has (`mbind`, `MPOL_PREFERRED`).
    ///
    /// # Errors
    /// What `mbind` said: `EPERM` where a container's filter forbids it, `ENOSYS` in a kernel without nodes, `EINVAL` for a node
    /// that is not there, `ENOMEM` when the process has too many mappings.
    pub fn prefer_node(&self, offset: usize, len: usize, node: u8) -> io::Result<()> {
        const MPOL_PREFERRED: libc::c_int = 1;
        debug_assert!(offset.checked_add(len).is_some_and(|end| end <= self.len) && node < 64);
        let mask = 1u64 << node;
        // SAFETY: the range is ours, a policy changes no contents, and the mask is read for the time of the call; the kernel
        // takes one bit less than it is told.
        let refused = unsafe {
            let start = self.base.as_ptr().add(offset);
            libc::syscall(libc::SYS_mbind, start, len, MPOL_PREFERRED, &raw const mask, 65_usize, 0)
        };
        if refused == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Hands the pages of [offset, offset + len) back to the system (`MADV_DONTNEED`; for a memfd `MADV_REMOVE`, since
    /// the file would keep them). They read as zeros afterwards.
    ///
    /// # Safety
    /// Nobody uses these bytes until the call is over.
    ///
    /// # Errors
    /// What `madvise` said (`EINVAL` for locked pages); the contents are then unspecified.
    pub unsafe fn decommit(&self, offset: usize, len: usize) -> io::Result<()> {
        debug_assert!(offset.checked_add(len).is_some_and(|end| end <= self.len));
        let advice = match self.backing {
            Backing::Private => libc::MADV_DONTNEED,
            Backing::Memfd => libc::MADV_REMOVE,
        };
        // SAFETY: the bytes are inside our range, and by the caller's promise nobody uses them.
        check(unsafe { libc::madvise(self.base.as_ptr().add(offset).cast(), len, advice) }).map(|_| ())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is ours, and whoever drops the owner promises that no pointer into it is used any more.
        unsafe { unmap(self.base, self.len) }
    }
}

/// Reserves `wish` bytes or, where that is refused, halves until `map` agrees or the size would be below `floor`.
///
/// Once refused it settles for one halving more than needed: the limit that refused is the whole process's, and its thread
/// stacks and libraries need the other half.
///
/// # Errors
/// The refusal of the smallest size tried.
pub(crate) fn reserve_halving(
    wish: usize,
    floor: usize,
    map: impl Fn(usize) -> io::Result<Mapping>,
) -> io::Result<Mapping> {
    let mut len = wish.next_multiple_of(HUGE_PAGE);
    let smaller = |len: usize| Some((len / 2).next_multiple_of(HUGE_PAGE)).filter(|&half| half < len && half >= floor);
    loop {
        match map(len) {
            Ok(range) if len >= wish => return Ok(range),
            Ok(range) => {
                let Some(half) = smaller(len) else { return Ok(range) };
                drop(range);
                return map(half);
            }
            Err(refusal) => len = smaller(len).ok_or(refusal)?,
        }
    }
}

/// A page of zeros that is never given back; `None` where the system has none.
pub(crate) fn zeroed_page() -> Option<NonNull<u8>> {
    // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
    unsafe { map(null_mut(), super::page_size().max(4096), libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1) }.ok()
}

/// # Safety
/// With `MAP_FIXED` the range [at, at + len) is the caller's to replace.
unsafe fn map(at: *mut u8, len: usize, flags: libc::c_int, fd: libc::c_int) -> io::Result<NonNull<u8>> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the caller's promise; without `MAP_FIXED` the kernel picks unused addresses.
    let start = unsafe { libc::mmap(at.cast(), len, access, flags | libc::MAP_NORESERVE, fd, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

/// # Safety
/// [at, at + len) is the caller's, and nobody uses it any more.
unsafe fn unmap(at: NonNull<u8>, len: usize) {
    if len > 0 {
        // SAFETY: the caller's promise. A failure (too many mappings) leaves the range mapped, which harms nobody.
        unsafe { libc::munmap(at.as_ptr().cast(), len) };
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
#[path = "mem_tests.rs"]
mod tests;
