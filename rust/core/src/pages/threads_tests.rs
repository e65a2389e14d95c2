//! Threads that take, stamp, check and free runs and spans of every order while another one trims.

use super::ids::CHUNK_SIZE;
use super::testing::pages;
use super::{NodeId, Order, PageIndex, Pages, Source};
use crate::sync::Published;

const THREADS: u64 = 4;
const ROUNDS: u64 = 4000;

/// A run of one thread and its stamp; `order` 10 is a span of one chunk.
struct Owned {
    page: PageIndex,
    order: u8,
    stamp: u64,
}

impl Owned {
    fn pages(&self) -> u32 {
        1 << self.order.min(9)
    }
}

fn take(pages: &Pages, order: u8, thread: u64, stamp: u64) -> Option<Owned> {
    let page = match order {
        10 => pages.alloc_span(CHUNK_SIZE)?,
        _ => pages.alloc_run(Order(order), NodeId((thread % 2) as u8), thread as u32)?,
    };
    let owned = Owned { page, order, stamp };
    // SAFETY: the pages are this thread's from here until `give`.
    unsafe { pages.stamp(page, owned.pages(), stamp) };
    Some(owned)
}

fn give(pages: &Pages, owned: &Owned) {
    // SAFETY: the pages have been this thread's since `take`.
    let intact = unsafe { pages.is_stamped(owned.page, owned.pages(), owned.stamp) };
    assert!(intact, "{:?} had two owners", owned.page);
    match owned.order {
        10 => pages.free_span(owned.page),
        order => pages.free_run(owned.page, Order(order)),
    }
    .expect("they are ours");
}

fn work(pages: &Pages, thread: u64) {
    let mut random = (thread + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut owned = Vec::new();
    for round in 0..ROUNDS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let order = (random % 11).min(random >> 32 & 15) as u8;
        if owned.len() < 40 && random >> 40 & 3 != 0 {
            owned.extend(take(pages, order, thread, thread << 32 | round));
        } else if !owned.is_empty() {
            give(pages, &owned.swap_remove((random >> 8) as usize % owned.len()));
        }
    }
    owned.iter().for_each(|owned| give(pages, owned));
}

#[test]
fn pages_have_one_owner_whoever_trims() {
    // Few enough that the range runs full now and then.
    let pages = pages(Source::Anonymous, 24);
    let done = Published::new(0);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn({
                    let pages = &pages;
                    move || work(pages, thread)
                })
            })
            .collect();
        let trimmer = scope.spawn(|| {
            let mut given = 0;
            while done.read() == 0 {
                given += pages.trim();
                std::thread::yield_now();
            }
            given
        });
        let results: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.publish(1);
        assert!(trimmer.join().expect("trimming does not panic") > 0);
        results.into_iter().for_each(|result| result.expect("every page had one owner"));
    });
    let counts = pages.counts();
    assert_eq!((counts.run_pages, counts.span_pages), (0, 0));
    pages.trim();
    assert_eq!((pages.counts().dirty_free_pages, pages.resident()), (0, 0));
}
