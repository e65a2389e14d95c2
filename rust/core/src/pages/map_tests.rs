use super::*;

#[test]
fn every_field_survives_packing_at_its_limits() {
    for kind in [PageKind::Slab, PageKind::Run, PageKind::Span] {
        let word = MapWord::new(kind, Order(31), NodeId(255), u16::MAX, u32::MAX);
        assert_eq!(word.kind(), kind);
        assert_eq!((word.order(), word.node()), (Order(31), NodeId(255)));
        assert_eq!((word.cache(), word.descriptor()), (u16::MAX, u32::MAX));
        let word = MapWord::new(kind, Order(0), NodeId(0), 0, 0);
        assert_eq!((word.kind(), word.order(), word.node()), (kind, Order(0), NodeId(0)));
        assert_eq!((word.cache(), word.descriptor()), (0, 0));
    }
}

#[test]
fn zeroed_memory_maps_to_nothing() {
    assert_eq!(MapWord::NONE.kind(), PageKind::None);
    assert_eq!(MapWord::NONE, MapWord::new(PageKind::None, Order(0), NodeId(0), 0, 0));
}

#[cfg(not(loom))]
#[test]
fn set_changes_just_its_pages() {
    let map = PageMap::new(64).expect("a small range");
    let word = MapWord::new(PageKind::Run, Order(2), NodeId(1), 0, 0);
    map.set(PageIndex(8), 4, word);
    let of = |page| map.get(PageIndex(page));
    assert_eq!([of(7), of(8), of(11), of(12)], [MapWord::NONE, word, word, MapWord::NONE]);
}
