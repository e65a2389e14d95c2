//! The hash table of the worked example (docs/typesafe.md), text and all, with nodes from a cache under test, readers that
//! dawdle at the wrong moments, and keys by which a node is told from anything else.

use super::field::CacheSpec;
use crate::oracle::Watched;
use crossbeam_utils::atomic::AtomicCell;
use std::cell::Cell;
use std::ptr::NonNull;
use std::thread::LocalKey;
use std::time::Duration;

#[path = "../../../../examples/typesafe_table/table.rs"]
mod example;

use example::{FREEPTR_OFFSET, NODE_SIZE, Nodes};
pub use example::{Found, Table};

/// The cache of the nodes.
pub const SPEC: CacheSpec = CacheSpec::plain(NODE_SIZE).type_safe(FREEPTR_OFFSET);
/// The high half of every key: what is no node has none.
pub const MARK: u64 = 0x7ab1_e0de << 32;

pub fn key(n: usize) -> u64 {
    MARK | n as u64
}

pub fn value_of(key: u64) -> u64 {
    key.wrapping_mul(0xd6e8_feb8_6659_fd93).rotate_left(17)
}

/// The cache of the nodes, and what a reader came by that was no node.
pub struct Watching<const RECHECK: bool> {
    pub watched: Watched,
    strayed: AtomicCell<bool>,
    key: AtomicCell<u64>,
}

impl<const RECHECK: bool> Watching<RECHECK> {
    /// For a cache that was made with [`SPEC`].
    pub fn new(watched: Watched) -> Self {
        Self { watched, strayed: AtomicCell::new(false), key: AtomicCell::new(0) }
    }

    /// What a reader came by that was no node's key.
    pub fn strayed(&self) -> Option<u64> {
        self.strayed.load().then(|| self.key.load())
    }
}

// SAFETY: the cache is made with `SPEC`, and nobody but the table allocates from it.
unsafe impl<const RECHECK: bool> Nodes for Watching<RECHECK> {
    const RECHECK: bool = RECHECK;

    fn alloc(&self) -> Option<NonNull<u8>> {
        let node = self.watched.subject.alloc(false)?;
        self.watched.born(0, 1);
        Some(node)
    }

    unsafe fn free(&self, node: NonNull<u8>) {
        self.watched.died(0, 1);
        // SAFETY: the caller's word.
        unsafe { self.watched.subject.free(node) };
    }

    fn visits(&self, key: u64) -> bool {
        let is_node = key >> 32 == MARK >> 32;
        if !is_node {
            self.key.store(key);
            self.strayed.store(true);
        }
        is_node
    }

    fn comes(&self) {
        // Now and then long enough for the node's slab to die and, were it not for this reader, for its pages to be somebody
        // else's.
        thread_local!(static COMES: Cell<u32> = const { Cell::new(0) });
        if is_nth(&COMES, 4096) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn finds(&self) {
        // Now and then long enough for the node to be freed and to become another.
        thread_local!(static FINDS: Cell<u32> = const { Cell::new(0) });
        if is_nth(&FINDS, 64) {
            std::thread::yield_now();
        }
    }
}

/// Counts a thread's calls; true once in `n`.
fn is_nth(calls: &'static LocalKey<Cell<u32>>, n: u32) -> bool {
    calls.set(calls.get().wrapping_add(1));
    calls.get().is_multiple_of(n)
}
