//! Linux's kmalloc caches: which one serves a size, and what it looks like.

#![forbid(unsafe_code)]

/// Largest size that a kmalloc cache serves, in bytes (`KMALLOC_MAX_CACHE_SIZE`: two pages); above it are page runs.
pub const MAX_CACHE_SIZE: u32 = 8192;

/// The name under which page runs are reported.
pub const LARGE: &str = "kmalloc-large";

/// The bucket that holds `bytes` (1 to [`MAX_CACHE_SIZE`]): a power of two from 8, or 96, or 192.
#[must_use]
pub fn bucket(bytes: u32) -> u32 {
    match bytes {
        65..=96 => 96,
        129..=192 => 192,
        _ => bytes.next_power_of_two().max(8),
    }
}

/// Linux's name of a bucket: `kmalloc-192`, `kmalloc-1k`, `kmalloc-cg-1k` for memory that is charged to a cgroup.
#[must_use]
pub fn name(bucket: u32, accounted: bool) -> String {
    let cgroup = if accounted { "cg-" } else { "" };
    if bucket >= 1024 { format!("kmalloc-{cgroup}{}k", bucket / 1024) } else { format!("kmalloc-{cgroup}{bucket}") }
}

/// Alignment that kmalloc guarantees for a bucket: its largest power-of-two divisor.
#[must_use]
pub fn natural_align(bucket: u32) -> usize {
    1 << bucket.trailing_zeros()
}

#[cfg(test)]
#[path = "kmalloc_tests.rs"]
mod tests;
