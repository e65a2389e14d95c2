#![forbid(unsafe_code)]
//! Where object pointers lie in a sheaf's block.

use super::*;
use proptest::prelude::*;

fn place(address: usize) -> *mut u64 {
    core::ptr::without_provenance_mut(address)
}

#[test]
fn blocks_of_the_usual_capacities() {
    let blocks = [(4, 64), (12, 128), (28, 256), (60, 512), (1020, 8192), (1, 64), (29, 512)];
    for (capacity, block) in blocks {
        assert_eq!(Shape::new(capacity).block, block, "capacity {capacity}");
    }
}

proptest! {
    #[test]
    fn every_cursor_tells_sheaf_and_level(capacity in 1u32..=1020, nth in 1usize..1000, level in 0u32..=1020) {
        let shape = Shape::new(capacity);
        let level = level % (capacity + 1);
        let base = place(nth * shape.block);
        let cursor = shape.empty(base).wrapping_add(level as usize);
        prop_assert_eq!(shape.base(cursor), base);
        prop_assert_eq!(shape.level(cursor), level);
        prop_assert_eq!(shape.is_empty(cursor), level == 0);
        prop_assert_eq!(shape.is_full(cursor), level == capacity);
        // Link, saved cursor and a word in reserve lie in front of the null that ends the stack.
        prop_assert!(shape.empty(base).addr() - base.addr() >= 3 * 8);
    }
}
