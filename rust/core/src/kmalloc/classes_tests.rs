use super::*;

#[test]
fn sizes_round_up_as_in_linux() {
    // K§10's vectors, then the ends of every range.
    let vectors =
        [(1, 8), (9, 16), (65, 96), (97, 128), (129, 192), (193, 256), (8192, 8192), (8193, 16384), (16385, 32768)];
    for (size, rounded) in vectors {
        assert_eq!(kmalloc_size_roundup(size), rounded, "{size}");
    }
    for (size, rounded) in [
        (0, 0),
        (8, 8),
        (96, 96),
        (192, 192),
        (256, 256),
        (257, 512),
        (KMALLOC_MAX_SIZE - 1, KMALLOC_MAX_SIZE),
        (KMALLOC_MAX_SIZE, KMALLOC_MAX_SIZE),
        (KMALLOC_MAX_SIZE + 1, KMALLOC_MAX_SIZE + 1),
        (usize::MAX, usize::MAX),
    ] {
        assert_eq!(kmalloc_size_roundup(size), rounded, "{size}");
    }
}

#[test]
fn a_size_gets_the_smallest_class_that_holds_it() {
    for size in 1..=KMALLOC_MAX_CACHE_SIZE {
        let fits = SIZES.iter().position(|&class| class >= size);
        assert_eq!(Some(class_of(size)), fits, "{size}");
    }
    for size in KMALLOC_MAX_CACHE_SIZE + 1..=KMALLOC_MAX_SIZE {
        let bytes = PAGE_SIZE << order_of(size);
        assert!(bytes >= size && bytes / 2 < size, "{size}");
    }
}
