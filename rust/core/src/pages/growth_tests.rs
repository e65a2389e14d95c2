use super::*;

#[test]
fn chunks_come_in_order_until_the_range_is_full() {
    let growth = Growth::new(10);
    assert_eq!(growth.take(1), Some(ChunkIndex(0)));
    assert_eq!(growth.take(7), Some(ChunkIndex(1)));
    assert_eq!(growth.take(3), None, "2 are left");
    assert_eq!(growth.take(2), Some(ChunkIndex(8)));
    assert_eq!(growth.take(1), None);
    assert_eq!((growth.taken(), growth.limit()), (10, 10));
}
