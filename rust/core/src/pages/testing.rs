//! What several test files of this layer need: small arenas, and bytes of their pages.

use super::{NodeId, Order, PAGE_SIZE, PageIndex, Pages, PagesConfig, Source};
use crate::sync::Form;

pub(super) const NODE: NodeId = NodeId(0);
pub(super) const CPU: u32 = 0;

/// An arena of `chunks` chunks with 4 CPUs on 2 nodes.
pub(super) fn pages(source: Source, chunks: usize) -> Pages {
    let config =
        PagesConfig { source, reserve: chunks * super::ids::CHUNK_SIZE, form: Form::detect(), cpus: 4, nodes: 2 };
    Pages::new(&config).expect("a few MiB of address space")
}

pub(super) fn small() -> Pages {
    pages(Source::Anonymous, 16)
}

impl Pages {
    /// A run that must be to be had.
    pub(super) fn run(&self, order: u8) -> PageIndex {
        self.alloc_run(Order(order), NODE, CPU).expect("the arena is not full")
    }

    /// Writes `value` at the start of each of `count` pages.
    ///
    /// # Safety
    /// The caller owns the pages.
    pub(super) unsafe fn stamp(&self, first: PageIndex, count: u32, value: u64) {
        for page in first.0..first.0 + count {
            // SAFETY: the caller's promise; the range is mapped while `self` lives, and pages are aligned.
            unsafe { self.address(PageIndex(page)).cast::<u64>().write(value) };
        }
    }

    /// True if each of `count` pages starts with `value`.
    ///
    /// # Safety
    /// As for `stamp`.
    pub(super) unsafe fn is_stamped(&self, first: PageIndex, count: u32, value: u64) -> bool {
        // SAFETY: as in `stamp`.
        (first.0..first.0 + count).all(|page| unsafe { self.address(PageIndex(page)).cast::<u64>().read() } == value)
    }

    /// Bytes of the user range that are resident, by `/proc/self/smaps`: other tests of this process do not count.
    pub(super) fn resident(&self) -> usize {
        let (base, len) = self.range();
        let smaps = std::fs::read_to_string("/proc/self/smaps").expect("tests run with /proc");
        let mut inside = false;
        let mut total = 0;
        for line in smaps.lines() {
            let first = line.split([' ', '-']).next().unwrap_or_default();
            if let (Ok(start), false) = (usize::from_str_radix(first, 16), first.ends_with(':')) {
                inside = (base..base + len).contains(&start);
            } else if let (true, Some(size)) = (inside, line.strip_prefix("Rss:")) {
                total += size.trim().trim_end_matches(" kB").parse::<usize>().expect("kB") << 10;
            }
        }
        assert_eq!(total % PAGE_SIZE, 0);
        total
    }
}
