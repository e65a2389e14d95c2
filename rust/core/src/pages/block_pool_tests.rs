use super::super::testing::{pages, small};
use super::super::{FailSwitch, Source};
use super::*;
use std::collections::HashSet;

#[test]
fn blocks_of_every_size_are_aligned_and_disjoint() {
    let pages = small();
    let meta = pages.meta();
    for size in (6..=13).map(|log| 1 << log) {
        let pool = BlockPool::new(Form::detect(), size);
        let mut units = HashSet::new();
        for _ in 0..3 * BATCH / size {
            let index = pool.take(meta).expect("16 MiB");
            assert_eq!(meta.at(index).addr().get() % size, 0);
            assert!((index..index + (size / UNIT) as u32).all(|unit| units.insert(unit)));
        }
    }
}

#[test]
fn a_block_put_back_is_the_next_one_taken_with_its_contents() {
    let pages = small();
    let (meta, pool) = (pages.meta(), BlockPool::new(Form::Packed, 128));
    let index = pool.take(meta).expect("16 MiB");
    // SAFETY: the block is ours, and its first 8 bytes are left alone.
    unsafe { meta.at(index).add(8).cast::<u64>().write(42) };
    pool.put(meta, index);
    assert_eq!(pool.take(meta), Some(index));
    // SAFETY: as above.
    assert_eq!(unsafe { meta.at(index).add(8).cast::<u64>().read() }, 42);
}

#[test]
fn a_batch_serves_many_and_none_of_it_is_lost() {
    let switch = FailSwitch::new();
    let pages = pages(Source::Failing(switch.clone()), 1);
    let (meta, pool) = (pages.meta(), BlockPool::new(Form::detect(), 512));
    switch.fail_after(1);
    let taken: Vec<_> = core::iter::from_fn(|| pool.take(meta)).collect();
    assert_eq!(taken.len(), BATCH / 512);
    taken.iter().for_each(|&index| pool.put(meta, index));
    let again: HashSet<_> = core::iter::from_fn(|| pool.take(meta)).collect();
    assert_eq!(again, taken.into_iter().collect());
}
