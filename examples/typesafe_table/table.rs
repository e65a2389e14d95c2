//! A hash table whose look-ups take no lock and wait for nobody, over nodes from a `TYPESAFE_BY_RCU` cache.
//!
//! A node that is removed goes back to its cache at once, and the next insertion may have it a moment later: no grace period
//! is waited for, nothing is queued. What the cache promises in return for a read section is little: the memory that a reader
//! looks at *stays a node* until the section ends. It may be free by then, or another node than the one looked for. So a
//! look-up does four things, and each of them is needed:
//!
//! 1. it walks inside a read section;
//! 2. it tries to get a reference, which fails on a free node: its count is 0;
//! 3. with the reference it looks at the key **again**: between the first look and the reference the node may have been freed
//!    and used for another key. From here on it cannot be: a node with references is not freed;
//! 4. a walk that ended at another bucket's end mark began again: a node that was used anew took it to another chain.
//!
//! Who writes does the reverse: everything of a node first, then the count, with release.
//!
//! A free node's free pointer lies on `value`: that is the one field which readers read only with a reference. `refs`, `key` and
//! `next` they read in free nodes too, so the free pointer must keep off those; without `freeptr_offset` it would lie behind
//! the node and cost 8 bytes of each.
//!
//! Sources: Documentation/RCU/rculist_nulls.rst of the kernel, and the comment on `SLAB_TYPESAFE_BY_RCU` in
//! include/linux/slab.h.

use haybarn::rcu;
use haybarn::sync::Published;
use std::mem::offset_of;
use std::ptr::{NonNull, with_exposed_provenance};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An entry. Every word is atomic, since readers may look at any time; [`Published`] is acquire and release.
#[repr(C)]
pub struct Node {
    /// 0: free. The table has one reference, and each [`Found`].
    refs: Published,
    key: Published,
    /// Address of the chain's next node, or the end mark of its bucket.
    next: Published,
    /// Read with a reference only: in a free node the free pointer is here.
    value: Published,
}

/// Bytes of a node.
pub const NODE_SIZE: usize = size_of::<Node>();
/// What a cache of nodes is made with as `freeptr_offset`.
pub const FREEPTR_OFFSET: usize = offset_of!(Node, value);

/// Where nodes come from.
///
/// # Safety
/// `alloc` gives [`NODE_SIZE`] bytes, aligned to 8, of a cache that is `TYPESAFE_BY_RCU`, whose free pointer is at
/// [`FREEPTR_OFFSET`] and which nobody else uses; `free` gives them back to it.
pub unsafe trait Nodes: Sync {
    /// A look-up without it is wrong: the stress test takes it out to see its oracle notice.
    const RECHECK: bool = true;

    /// A node's memory; none when memory is out.
    fn alloc(&self) -> Option<NonNull<u8>>;

    /// Gives it back.
    ///
    /// # Safety
    /// It came from `alloc`, and its owner gives it up.
    unsafe fn free(&self, node: NonNull<u8>);

    /// A reader has a node's address and will now look there. A test may have something happen before.
    fn comes(&self) {}

    /// It has seen this key there, whether the node is free or not; false ends its walk. A test may know what keys look like.
    fn visits(&self, _key: u64) -> bool {
        true
    }

    /// It is the key looked for, and the reader will now try for a reference. A test may have something happen in between.
    fn finds(&self) {}
}

/// There is no memory for another node.
#[derive(Debug, PartialEq, Eq)]
pub struct NoMemory;

struct Bucket {
    /// Address of the first node, or the bucket's end mark.
    head: Published,
    /// Taken by who changes the chain.
    changes: Mutex<()>,
}

/// See the module's text.
pub struct Table<N: Nodes> {
    nodes: N,
    buckets: Box<[Bucket]>,
}

/// An entry that was found. It stays what it is while this lives, also when it is removed meanwhile.
pub struct Found<'t, N: Nodes> {
    table: &'t Table<N>,
    node: &'t Node,
}

/// Odd, so that it is no node's address; another one for each bucket, so that a walk knows where it ended.
fn end_mark(bucket: usize) -> u64 {
    bucket as u64 * 2 + 1
}

impl<N: Nodes> Table<N> {
    /// An empty table.
    pub fn new(nodes: N, buckets: usize) -> Self {
        let bucket = |n| Bucket { head: Published::new(end_mark(n)), changes: Mutex::new(()) };
        Self { nodes, buckets: (0..buckets.max(1)).map(bucket).collect() }
    }

    /// The node at an address that was in a chain.
    ///
    /// # Safety
    /// The address was read from a chain in this read section, or the bucket is locked, or a reference is held.
    unsafe fn node(&self, address: u64) -> &Node {
        // SAFETY: by the caller's word the memory is a node's, whoever's by now; all of its fields are atomic.
        unsafe { &*with_exposed_provenance(address as usize) }
    }

    fn bucket(&self, key: u64) -> usize {
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % self.buckets.len()
    }

    fn lock(&self, bucket: usize) -> MutexGuard<'_, ()> {
        self.buckets[bucket].changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entry of a key. Takes no lock; whoever else is at the table, it goes on.
    pub fn get(&self, key: u64) -> Option<Found<'_, N>> {
        let bucket = self.bucket(key);
        let _reading = rcu::read_lock();
        'again: loop {
            let mut at = self.buckets[bucket].head.read();
            while at.is_multiple_of(2) {
                self.nodes.comes();
                // SAFETY: read from a chain in this section.
                let node = unsafe { self.node(at) };
                let seen = node.key.read();
                if !self.nodes.visits(seen) {
                    return None;
                }
                if seen != key {
                    at = node.next.read();
                    continue;
                }
                self.nodes.finds();
                if !node.try_get() {
                    continue 'again;
                }
                // From here on the node has an owner more; if it is the wrong one, dropping gives it up again.
                let found = Found { table: self, node };
                if !N::RECHECK || node.key.read() == key {
                    return Some(found);
                }
                drop(found);
                continue 'again;
            }
            if at == end_mark(bucket) {
                return None;
            }
        }
    }

    /// Adds an entry; false if the key has one.
    ///
    /// # Errors
    /// There is no memory for a node.
    pub fn insert(&self, key: u64, value: u64) -> Result<bool, NoMemory> {
        let memory = self.nodes.alloc().ok_or(NoMemory)?;
        let address = memory.as_ptr().expose_provenance() as u64;
        // SAFETY: ours alone to write, though readers may look at it.
        let node = unsafe { self.node(address) };
        let bucket = self.bucket(key);
        let lock = self.lock(bucket);
        if self.find(bucket, key).is_some() {
            drop(lock);
            // SAFETY: it came from there, and nobody else owns it.
            unsafe { self.nodes.free(memory) };
            return Ok(false);
        }
        let head = &self.buckets[bucket].head;
        node.key.publish(key);
        node.value.publish(value);
        node.next.publish(head.read());
        // Last of the node: who gets a reference sees all of the above.
        node.refs.publish(1);
        head.publish(address);
        Ok(true)
    }

    /// Takes a key's entry out; false if it has none. Who has found it keeps it.
    pub fn remove(&self, key: u64) -> bool {
        let bucket = self.bucket(key);
        let lock = self.lock(bucket);
        let Some((node, link)) = self.find(bucket, key) else { return false };
        // The node's own link stays: readers that are at it go on from there.
        link.publish(node.next.read());
        drop(lock);
        drop(Found { table: self, node });
        true
    }

    /// In a locked bucket: a key's node, and the link that leads to it.
    fn find(&self, bucket: usize, key: u64) -> Option<(&Node, &Published)> {
        let mut link = &self.buckets[bucket].head;
        loop {
            let at = link.read();
            if !at.is_multiple_of(2) {
                return None;
            }
            // SAFETY: in the chain of a locked bucket: the table has a reference.
            let node = unsafe { self.node(at) };
            if node.key.read() == key {
                return Some((node, link));
            }
            link = &node.next;
        }
    }

    /// Removes all entries; how many there were.
    pub fn clear(&self) -> usize {
        let mut removed = 0;
        for (bucket, chain) in self.buckets.iter().enumerate() {
            loop {
                let lock = self.lock(bucket);
                let at = chain.head.read();
                if !at.is_multiple_of(2) {
                    break;
                }
                // SAFETY: in the chain of a locked bucket.
                let node = unsafe { self.node(at) };
                chain.head.publish(node.next.read());
                drop(lock);
                drop(Found { table: self, node });
                removed += 1;
            }
        }
        removed
    }

    /// Where the nodes came from, when the table is not needed any more. Entries that are left are lost to it.
    #[allow(dead_code, reason = "the example ends with its process, the stress test does not")]
    pub fn into_nodes(self) -> N {
        self.nodes
    }

    /// Where the nodes come from.
    pub fn nodes(&self) -> &N {
        &self.nodes
    }
}

impl Node {
    /// Adds a reference, unless there is none: then the node is free.
    fn try_get(&self) -> bool {
        let mut refs = self.refs.read();
        loop {
            if refs == 0 {
                return false;
            }
            match self.refs.publish_if(refs, refs + 1) {
                Ok(()) => return true,
                Err(now) => refs = now,
            }
        }
    }
}

impl<N: Nodes> Found<'_, N> {
    /// The entry's key.
    pub fn key(&self) -> u64 {
        self.node.key.read()
    }

    /// The entry's value.
    pub fn value(&self) -> u64 {
        self.node.value.read()
    }
}

impl<N: Nodes> Drop for Found<'_, N> {
    fn drop(&mut self) {
        // Adding all ones takes one away. Who takes the last one away owns the node.
        if self.node.refs.take(u64::MAX) == 1 {
            // SAFETY: it came from there; it is in no chain, and nobody has a reference.
            unsafe { self.table.nodes.free(NonNull::from(self.node).cast()) };
        }
    }
}
