use super::super::ids::{CHUNK_PAGES, PAGE_SIZE};
use super::super::testing::{CPU, NODE, pages, small};
use super::super::{FailSwitch, Source};
use super::*;

#[test]
fn pages_and_addresses_are_each_others_inverse() {
    let pages = small();
    let (base, len) = pages.range();
    for page in [PageIndex(0), PageIndex(1), PageIndex((len / PAGE_SIZE) as u32 - 1)] {
        let address = pages.address(page).addr();
        assert_eq!(pages.page_of(address), Some(page));
        assert_eq!(pages.page_of(address + PAGE_SIZE - 1), Some(page));
    }
    assert_eq!(pages.address(PageIndex(0)).addr(), base);
}

#[test]
fn foreign_addresses_are_nobodys_pages() {
    let pages = small();
    let (base, len) = pages.range();
    let local = 0;
    for address in [0, 8, base - 1, base + len, usize::MAX, (&raw const local).addr()] {
        assert_eq!(pages.page_of(address), None, "{address:#x}");
    }
}

#[test]
fn runs_are_aligned_and_disjoint() {
    let pages = small();
    let mut owned = std::collections::HashSet::new();
    for order in (0..=9).chain((0..=9).rev()) {
        let first = pages.run(order);
        assert_eq!(first.0 % Order(order).pages(), 0);
        assert!((first.0..first.0 + Order(order).pages()).all(|page| owned.insert(page)));
    }
}

#[test]
fn the_whole_range_can_be_used_and_used_again() {
    let pages = small();
    for order in [0, 4, 9] {
        let runs: Vec<_> = core::iter::from_fn(|| pages.alloc_run(Order(order), NODE, CPU)).collect();
        assert_eq!(runs.len() as u32 * Order(order).pages(), 16 * CHUNK_PAGES);
        assert_eq!(pages.counts().run_pages, u64::from(16 * CHUNK_PAGES));
        runs.into_iter().for_each(|run| pages.free_run(run, Order(order)).expect("it is ours"));
        assert_eq!(pages.counts().run_pages, 0);
    }
}

#[test]
fn a_wave_of_any_order_reuses_the_chunks_of_the_last_one() {
    let pages = pages(Source::Anonymous, 64);
    for order in 0..=9 {
        for _ in 0..8 {
            let count = 8 * CHUNK_PAGES / Order(order).pages();
            let runs: Vec<_> = (0..count).map(|_| pages.run(order)).collect();
            runs.into_iter().for_each(|run| pages.free_run(run, Order(order)).expect("it is ours"));
        }
    }
    assert_eq!(pages.counts().chunks, 8);
}

#[test]
fn low_chunks_are_filled_first() {
    let pages = small();
    let runs: Vec<_> = (0..8).map(|_| pages.run(9)).collect();
    pages.free_run(runs[2], Order(9)).expect("it is ours");
    pages.free_run(runs[5], Order(9)).expect("it is ours");
    assert_eq!(pages.run(6).chunk(), runs[2].chunk());
}

#[test]
fn nodes_have_chunks_of_their_own_until_the_range_is_full() {
    let pages = pages(Source::Anonymous, 2);
    let mine = pages.alloc_run(Order(0), NodeId(0), 0).expect("two chunks");
    let theirs = pages.alloc_run(Order(0), NodeId(1), 2).expect("two chunks");
    assert_ne!(mine.chunk(), theirs.chunk());
    let also_mine = pages.alloc_run(Order(0), NodeId(0), 2).expect("the chunk has space");
    assert_eq!(also_mine.chunk(), mine.chunk(), "a hint of another node is passed over");
    let whole = pages.alloc_run(Order(8), NodeId(0), 0).expect("half of a chunk");
    assert_eq!(whole.chunk(), mine.chunk());
    let lent = pages.alloc_run(Order(8), NodeId(0), 0).expect("the other node's half");
    assert_eq!(lent.chunk(), theirs.chunk());
    pages.free_run(lent, Order(8)).expect("it is ours");
}

#[test]
fn misuse_is_an_error_value() {
    let pages = small();
    let run = pages.run(3);
    assert_eq!(pages.free_run(PageIndex(run.0 + 1), Order(3)), Err(FreeError::NoRun));
    assert_eq!(pages.free_run(run, Order(10)), Err(FreeError::NoRun));
    assert_eq!(pages.free_run(PageIndex(5 * CHUNK_PAGES), Order(0)), Err(FreeError::NoRun), "a chunk never used");
    assert_eq!(pages.free_run(PageIndex(u32::MAX), Order(0)), Err(FreeError::NoRun), "outside");
    assert_eq!(pages.free_run(run, Order(3)), Ok(()));
    assert_eq!(pages.free_run(run, Order(3)), Err(FreeError::DoubleFree));
}

#[test]
fn a_refusing_source_loses_nothing() {
    let switch = FailSwitch::new();
    let pages = pages(Source::Failing(switch.clone()), 2);
    switch.fail_after(1);
    let run = pages.run(0);
    assert_eq!(pages.alloc_run(Order(0), NODE, CPU), None);
    assert_eq!(pages.alloc_span(3 << 20), None);
    assert_eq!(pages.meta().alloc(64, 64), None);
    assert_eq!((switch.refused(), pages.counts().refused), (3, 3));
    switch.heal();
    pages.free_run(run, Order(0)).expect("it is ours");
    assert!(pages.alloc_run(Order(9), NODE, CPU).is_some() && pages.alloc_run(Order(9), NODE, CPU).is_some());
}

/// What the system says of the mapping that an address is in: `default`, `prefer:0` and the like.
fn policy(address: usize) -> Option<String> {
    let maps = std::fs::read_to_string("/proc/self/numa_maps").ok()?;
    let starts = |line: &str| usize::from_str_radix(line.split(' ').next().unwrap_or(""), 16).unwrap_or(0);
    let line = maps.lines().filter(|line| starts(line) <= address).max_by_key(|line| starts(line))?;
    line.split(' ').nth(1).map(str::to_owned)
}

#[test]
fn chunks_are_bound_where_the_system_lets_us() {
    let pages = small();
    let before = pages.run(0);
    if let Err(why) = pages.bind_to_nodes() {
        eprintln!("not run: mbind: {why}");
        return;
    }
    let after = pages.run(9);
    assert_eq!(pages.unbound_chunks(), 0);
    let [before, after] = [before, after].map(|page| policy(pages.address(page).addr()));
    if let Some(after) = after {
        assert!(after.starts_with("prefer") && after.ends_with(":0"), "{after}");
        assert_eq!(before.as_deref(), Some("default"), "a chunk from before");
    }
    // Node 63 is not there: the chunk serves all the same.
    assert!(pages.alloc_run(Order(9), NodeId(63), CPU).is_some());
    assert_eq!(pages.unbound_chunks(), 1);
}
