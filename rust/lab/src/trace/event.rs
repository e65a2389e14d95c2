//! One recorded event.

#![forbid(unsafe_code)]

use super::NameId;

/// Largest size that an event may name, in bytes: no kernel allocator hands out 1 GiB, so a larger number is a broken line.
pub const MAX_BYTES: u64 = 1 << 30;

/// Largest object that an event may take from a named cache, in bytes: Linux's own limit (`KMALLOC_MAX_SIZE`), and ours.
pub const MAX_OBJECT: u64 = 4 << 20;

/// Largest CPU number that an event may name: as many CPUs as an arena serves.
pub const MAX_CPU: u64 = 1023;

/// The four events that are replayed, by the kernel's names (`include/trace/events/kmem.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `kmem_cache_alloc`
    CacheAlloc,
    /// `kmem_cache_free`
    CacheFree,
    /// `kmalloc`
    Kmalloc,
    /// `kfree`
    Kfree,
}

impl Kind {
    /// The kind of the kernel's event `name`; `None` for an event that is not replayed.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Kind> {
        match name {
            b"kmem_cache_alloc" => Some(Kind::CacheAlloc),
            b"kmem_cache_free" => Some(Kind::CacheFree),
            b"kmalloc" => Some(Kind::Kmalloc),
            b"kfree" => Some(Kind::Kfree),
            _ => None,
        }
    }

    /// True for the two that hand out memory.
    #[must_use]
    pub fn is_alloc(self) -> bool {
        matches!(self, Kind::CacheAlloc | Kind::Kmalloc)
    }
}

/// One event of a trace, in the order of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: Kind,
    /// `accounted=true`: charged to a memory cgroup.
    pub accounted: bool,
    /// CPU that it happened on.
    pub cpu: u16,
    /// Name of the cache; [`NameId::NONE`] for `kmalloc` and `kfree`.
    pub name: NameId,
    /// The pointer as printed, hashed by the kernel or real; 0 for NULL.
    pub pointer: u64,
    /// Bytes asked for; 0 for frees.
    pub bytes_req: u32,
    /// Bytes given; 0 for frees.
    pub bytes_alloc: u32,
}
