use super::super::testing::small;
use super::*;

#[test]
fn blocks_are_aligned_disjoint_and_never_index_0() {
    let pages = small();
    let meta = pages.meta();
    let mut end = 0;
    for (bytes, align) in [(1, 1), (64, 64), (100, 64), (512, 512), (64, 64), (4096, 4096)] {
        let start = meta.alloc(bytes, align).expect("16 MiB").addr().get();
        assert_eq!(start % align.max(UNIT), 0);
        assert!(start >= end);
        end = start + bytes;
    }
    assert_ne!(meta.index_of(Meta::alloc(meta, 64, 64).expect("16 MiB")), 0);
}

#[test]
fn indices_and_addresses_are_each_others_inverse() {
    let pages = small();
    let block = pages.meta().alloc(256, 256).expect("16 MiB");
    let index = pages.meta().index_of(block);
    assert_eq!(pages.meta().at(index), block);
    assert_eq!(pages.meta().at(index + 2).addr().get(), block.addr().get() + 128);
}

#[test]
fn a_full_range_refuses_and_stays_usable() {
    let pages = small();
    assert_eq!(pages.meta().alloc(SMALLEST, 64), None);
    assert_eq!(pages.meta().alloc(usize::MAX, 64), None);
    let most = SMALLEST - pages.meta().used();
    assert!(pages.meta().alloc(most, 64).is_some());
    assert_eq!(pages.meta().alloc(1, 64), None);
}
