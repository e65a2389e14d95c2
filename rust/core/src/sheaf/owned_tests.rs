//! A sheaf in one thread's hands.

use super::*;

/// A block of `N` words; the alignment is that of the largest block here.
#[repr(align(512))]
struct Block([u64; 64]);

fn object(n: usize) -> *mut u8 {
    core::ptr::without_provenance_mut(n * 16)
}

fn push(sheaf: &mut Sheaf, shape: Shape, n: usize) {
    assert!(sheaf.room(shape) > 0);
    // SAFETY: there is room.
    unsafe { sheaf.push(object(n)) };
}

/// Runs `test` on an empty sheaf of `capacity` objects in a block full of garbage.
fn with_sheaf(capacity: u32, test: impl FnOnce(Sheaf, Shape)) {
    let shape = Shape::new(capacity);
    let mut block = Box::new(Block([u64::MAX; 64]));
    assert!(shape.block <= size_of::<Block>());
    // SAFETY: the block is ours, large enough and aligned to 512 bytes.
    test(unsafe { Sheaf::in_block(block.0.as_mut_ptr(), shape) }, shape);
}

#[test]
fn what_comes_last_goes_first() {
    for capacity in [1, 4, 12, 28, 60] {
        with_sheaf(capacity, |mut sheaf, shape| {
            assert!(sheaf.is_empty() && sheaf.pop().is_none(), "garbage in the block is no object");
            for n in 1..=capacity {
                assert_eq!(sheaf.room(shape), capacity - n + 1);
                push(&mut sheaf, shape, n as usize);
            }
            assert!(shape.is_full(sheaf.cursor()) && sheaf.room(shape) == 0);
            let expected: Vec<_> = (1..=capacity as usize).map(object).collect();
            assert_eq!(sheaf.objects(shape), expected);
            for n in (1..=capacity as usize).rev() {
                assert_eq!(sheaf.pop(), NonNull::new(object(n)));
            }
            assert_eq!(sheaf.pop(), None);
        });
    }
}

#[test]
fn a_saved_sheaf_comes_back_as_it_was() {
    with_sheaf(12, |mut sheaf, shape| {
        (1..=7).for_each(|n| push(&mut sheaf, shape, n));
        let (cursor, block) = (sheaf.cursor(), shape.base(sheaf.cursor()));
        assert_eq!(sheaf.save(shape), block);
        // SAFETY: the block is the one that was saved just now, and still ours.
        let again = unsafe {
            assert_eq!(Sheaf::saved_level(block, shape), 7);
            Sheaf::from_saved(block)
        };
        assert_eq!((again.cursor(), again.level(shape)), (cursor, 7));
        // SAFETY: the sheaf is ours.
        let by_cursor = unsafe { Sheaf::from_cursor(cursor) };
        assert_eq!(by_cursor.objects(shape), again.objects(shape));
    });
}

#[test]
fn a_cleared_sheaf_is_empty() {
    with_sheaf(4, |mut sheaf, shape| {
        (1..=3).for_each(|n| push(&mut sheaf, shape, n));
        sheaf.clear(shape);
        assert!(sheaf.is_empty() && sheaf.objects(shape).is_empty() && sheaf.pop().is_none());
    });
}
