#![forbid(unsafe_code)]

use super::{bucket, name, natural_align};

#[test]
fn buckets_and_names_are_linuxs() {
    for (bytes, holds, plain, charged, align) in [
        (1, 8, "kmalloc-8", "kmalloc-cg-8", 8),
        (9, 16, "kmalloc-16", "kmalloc-cg-16", 16),
        (64, 64, "kmalloc-64", "kmalloc-cg-64", 64),
        (65, 96, "kmalloc-96", "kmalloc-cg-96", 32),
        (97, 128, "kmalloc-128", "kmalloc-cg-128", 128),
        (192, 192, "kmalloc-192", "kmalloc-cg-192", 64),
        (193, 256, "kmalloc-256", "kmalloc-cg-256", 256),
        (1024, 1024, "kmalloc-1k", "kmalloc-cg-1k", 1024),
        (8192, 8192, "kmalloc-8k", "kmalloc-cg-8k", 8192),
    ] {
        assert_eq!(bucket(bytes), holds);
        assert_eq!((name(holds, false).as_str(), name(holds, true).as_str()), (plain, charged));
        assert_eq!(natural_align(holds), align);
    }
}
