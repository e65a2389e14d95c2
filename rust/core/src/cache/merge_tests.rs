use super::*;

#[test]
fn ids_are_linux() {
    assert_eq!(unique_id(192, SlabFlags::empty()), ":0000192");
    assert_eq!(unique_id(64, SlabFlags::RECLAIM_ACCOUNT | SlabFlags::ACCOUNT), ":aA-0000064");
    assert_eq!(unique_id(4096, SlabFlags::CACHE_DMA | SlabFlags::CACHE_DMA32 | SlabFlags::NO_MERGE), ":dD-0004096");
}
