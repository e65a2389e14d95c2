#![forbid(unsafe_code)]
//! The flags of a cache: Linux's public names without `SLAB_`, one row each.

/// One row of [`SlabFlags::TABLE`], for whoever exports the flags (Python, C, the docs).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlagRow {
    /// Linux's name without `SLAB_`.
    pub name: &'static str,
    /// The flag; two names may share one.
    pub flag: SlabFlags,
    /// One line for people.
    pub help: &'static str,
}

macro_rules! slab_flags {
    ($($name:ident = $bits:expr, $help:literal;)*) => {
        bitflags::bitflags! {
            /// What a cache is asked to do. Names and meanings are Linux's; the bit values are ours (Linux's depend on its
            /// configuration). Plain data: may be shared between threads.
            #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
            pub struct SlabFlags: u32 {
                $(#[doc = $help] const $name = $bits;)*
            }
        }

        impl SlabFlags {
            /// Every flag, in the order of declaration.
            pub const TABLE: &'static [FlagRow] =
                &[$(FlagRow { name: stringify!($name), flag: Self::$name, help: $help },)*];
        }
    };
}

slab_flags! {
    HWCACHE_ALIGN = 1 << 0, "Align objects to cache lines; small ones to the largest fraction of a line that holds them.";
    CACHE_DMA = 1 << 1, "Memory for DMA in the kernel; here it only keeps caches apart when merging.";
    CACHE_DMA32 = 1 << 2, "Memory for 32-bit DMA in the kernel; here it only keeps caches apart when merging.";
    PANIC = 1 << 3, "Failing to create the cache is fatal.";
    TYPESAFE_BY_RCU = 1 << 4, "Slabs are given back only after a grace period; the memory keeps its type until then.";
    DEBUG_OBJECTS = 1 << 5, "The kernel's object life-cycle tracking; here without effect.";
    NOLEAKTRACE = 1 << 6, "Not watched for leaks; the cache has no sheaves and never merges.";
    RECLAIM_ACCOUNT = 1 << 7, "Objects can be reclaimed; caches merge only with others of this kind.";
    TEMPORARY = Self::RECLAIM_ACCOUNT.bits(), "Objects are short-lived; as in Linux another name of RECLAIM_ACCOUNT.";
    ACCOUNT = 1 << 8, "Charge objects to whoever allocates them.";
    NO_USER_FLAGS = 1 << 9, "Debugging that a user switches on for all caches leaves this one alone.";
    KMALLOC = 1 << 10, "A size class of kmalloc: naturally aligned, and debugging records the size asked for.";
    NO_MERGE = 1 << 11, "Never share slabs with another cache.";
    CONSISTENCY_CHECKS = 1 << 12, "Debugging (F): check slabs and pointers on every alloc and free.";
    RED_ZONE = 1 << 13, "Debugging (Z): guard words in front of and behind each object.";
    POISON = 1 << 14, "Debugging (P): fill free objects with a pattern and check it.";
    STORE_USER = 1 << 15, "Debugging (U): record who allocated and who freed each object.";
    TRACE = 1 << 16, "Debugging (T): report every alloc and free.";
}

impl SlabFlags {
    /// The names of the flags that are set, for messages.
    #[must_use]
    pub fn names(self) -> String {
        let names: Vec<_> = self.iter_names().map(|(name, _)| name).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(" | ") }
    }

    /// Any of these: the cache has no sheaves and never merges (the kernel's `SLAB_DEBUG_FLAGS`).
    pub const DEBUG: Self =
        Self::CONSISTENCY_CHECKS.union(Self::RED_ZONE).union(Self::POISON).union(Self::STORE_USER).union(Self::TRACE);

    /// Two caches merge only if they agree on these (`SLAB_MERGE_SAME`).
    pub const MERGE_SAME: Self =
        Self::RECLAIM_ACCOUNT.union(Self::CACHE_DMA).union(Self::CACHE_DMA32).union(Self::ACCOUNT);

    /// A cache with any of these never merges (`SLAB_NEVER_MERGE`).
    pub const NEVER_MERGE: Self =
        Self::DEBUG.union(Self::TYPESAFE_BY_RCU).union(Self::NOLEAKTRACE).union(Self::NO_MERGE);

    /// What caches take today. The others count in [`geometry`](super::geometry::geometry) only: a cache that ignored them
    /// would break its promise, so asking for one is an error until its behaviour is built.
    pub const ACCEPTED_NOW: Self = Self::HWCACHE_ALIGN
        .union(Self::PANIC)
        .union(Self::TYPESAFE_BY_RCU)
        .union(Self::NO_MERGE)
        .union(Self::RECLAIM_ACCOUNT)
        .union(Self::CACHE_DMA)
        .union(Self::CACHE_DMA32)
        .union(Self::TEMPORARY)
        .union(Self::DEBUG_OBJECTS)
        .union(Self::NOLEAKTRACE)
        .union(Self::NO_USER_FLAGS);
}

#[cfg(test)]
#[path = "flags_tests.rs"]
mod tests;
