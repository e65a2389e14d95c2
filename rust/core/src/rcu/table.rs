//! All records there are: 64 in the library's own memory, then 63 with each further page. Pages are never given back, so
//! there are as many records as there ever were readers at the same time.

use super::record::Record;
use crate::inject::{self, Point};
use crate::os;
use crate::os::mem::zeroed_page;
use crate::sync::{Published, PublishedPtr};
use core::ptr::null_mut;

const FIRST: usize = 64;
const PER_PAGE: usize = 63;

/// A page of further records. All zeros is an empty one.
#[repr(C, align(64))]
struct Page {
    next: PublishedPtr<Page>,
    records: [Record; PER_PAGE],
}

const _: () = assert!(size_of::<Page>() == 4096);

static RECORDS: [Record; FIRST] = [const { Record::new() }; FIRST];
/// So many of them, from the front, have ever been somebody's. Raised before their owner enters a section, so whoever sees the
/// section sees this too.
static USED: Published = Published::new(0);
static PAGES: PublishedPtr<Page> = PublishedPtr::new(null_mut());

/// Every record that may be somebody's.
pub(crate) fn all() -> impl Iterator<Item = &'static Record> {
    RECORDS[..FIRST.min(USED.read() as usize)].iter().chain(in_pages())
}

fn in_pages() -> impl Iterator<Item = &'static Record> {
    let pages = core::iter::successors(page(&PAGES), |held| page(&held.next));
    pages.flat_map(|held| held.records.iter())
}

fn page(pointer: &PublishedPtr<Page>) -> Option<&'static Page> {
    // SAFETY: null, or a page that `add_page` published whole and that is never unmapped.
    unsafe { pointer.read().as_ref() }
}

/// A record for the calling thread; `None` if there is none left and no memory for more.
///
/// Lock-free and without a call that a signal handler may not make.
pub(crate) fn claim() -> Option<&'static Record> {
    let (mark, thread) = (os::fork::generation(), os::thread::thread_id());
    let free = |record: &&Record| record.claim(mark, os::fork::is_stale, thread);
    if let Some((n, record)) = RECORDS.iter().enumerate().find(|(_, record)| free(record)) {
        count(n as u64 + 1);
        return Some(record);
    }
    if let Some(record) = in_pages().find(free) {
        return Some(record);
    }
    add_page()?.records.iter().find(free)
}

/// The first `n` have been somebody's.
fn count(n: u64) {
    let mut used = USED.read();
    while used < n
        && let Err(now) = USED.publish_if(used, n)
    {
        used = now;
    }
}

fn add_page() -> Option<&'static Page> {
    if !inject::request(Point::Metadata, size_of::<Page>()) {
        return None;
    }
    let new = zeroed_page()?.cast::<Page>();
    // SAFETY: a page of zeros is a `Page` of nobody's records, and it is ours until it is published.
    let held = unsafe { new.as_ref() };
    loop {
        let head = PAGES.read();
        held.next.publish(head);
        if PAGES.publish_if(head, new.as_ptr()) {
            return Some(held);
        }
    }
}
