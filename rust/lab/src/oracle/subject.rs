//! What the oracle needs of an allocator under test, and the record that it keeps of one.

pub use super::counter::{Counter, Counters};
use crossbeam_utils::CachePadded;
use crossbeam_utils::atomic::AtomicCell;
use std::ptr::NonNull;

/// One cache of objects of one size: haybarn's own, or a broken one that a test made.
pub trait Subject: Send + Sync {
    /// The cache's name, for messages.
    fn name(&self) -> &str;
    /// Bytes of an object that its holder may use.
    fn size(&self) -> usize;
    /// Every object's address is a multiple of this many bytes.
    fn align(&self) -> usize;
    /// An object, all zero if `zero`; none when memory is out.
    fn alloc(&self, zero: bool) -> Option<NonNull<u8>>;
    /// Gives an object back.
    ///
    /// # Safety
    /// The object came from this cache, is given back once, and nobody uses it any more.
    unsafe fn free(&self, object: NonNull<u8>);
    /// Fills `out` with objects: all of it or nothing.
    fn alloc_bulk(&self, out: &mut [*mut u8]) -> bool;
    /// Gives objects back; may reorder them.
    ///
    /// # Safety
    /// As [`Subject::free`], for each.
    unsafe fn free_bulk(&self, objects: &mut [*mut u8]);
    /// Sets `n` objects aside, or more; none when memory is out.
    fn prefill(&self, n: usize) -> Option<Box<dyn Aside + '_>>;
    /// Whether the address is that of an object of this cache.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check(&self, object: NonNull<u8>) -> Result<(), String>;
    /// Gives free slabs back; how many.
    fn shrink(&self) -> u64;
    /// What the allocator believes; exact when nobody uses the cache.
    fn census(&self) -> Census;
    /// Checks the allocator's own structures; nobody may use the cache meanwhile.
    ///
    /// # Errors
    /// What is wrong.
    fn validate(&self) -> Result<(), String>;
    /// What the cache's constructor leaves in objects; none of a cache without one.
    fn constructed(&self) -> Option<&dyn Constructed> {
        None
    }
    /// Does what the cache left for later, such as destructors.
    fn reap(&self) {}
    /// How the cache frees after a grace period; none of an allocator that cannot.
    fn deferred(&self) -> Option<&dyn Deferred> {
        None
    }
    /// How the cache gives memory of a node; none of an allocator that knows no nodes.
    fn by_node(&self) -> Option<&dyn ByNode> {
        None
    }
    /// With whom the cache shares its slabs, where the allocator lets caches do so.
    fn sharing(&self) -> Option<Sharing> {
        None
    }
    /// How signal handlers use the cache; none of an allocator that they must not use.
    fn handlers(&self) -> Option<&dyn Handlers> {
        None
    }
    /// Ends the cache; refused, and the cache stays usable, while objects are live.
    ///
    /// # Errors
    /// Why not.
    ///
    /// # Safety
    /// Nobody uses the cache during the call, nor after it if it succeeds.
    unsafe fn destroy(&self) -> Result<(), String>;
}

/// With whom a cache shares its slabs.
#[derive(Clone, Debug)]
pub struct Sharing {
    /// The name of the cache that they belong to.
    pub primary: String,
    /// How many others there are.
    pub others: usize,
    /// What is the same for all of them and for nobody else.
    pub storage: usize,
}

/// Objects of a subject set aside; dropping it gives them back.
pub trait Aside: Send {
    /// One of them, all zero if `zero`; none only when there is none left.
    fn alloc(&mut self, zero: bool) -> Option<NonNull<u8>>;
    /// How many are left.
    fn len(&self) -> usize;
    /// Whether none is.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Sees to it that there are `n`; false when memory is out, and then there are as many as before.
    fn refill(&mut self, n: usize) -> bool;
}

/// A cache whose objects are constructed once per slab.
pub trait Constructed {
    /// Whether an object is as its constructor left it, where its owners must leave it alone.
    ///
    /// # Errors
    /// What is wrong with it.
    ///
    /// # Safety
    /// The object came from this cache and is the caller's.
    unsafe fn inspect(&self, object: NonNull<u8>) -> Result<(), String>;
    /// Whether this thread's last call that gave nothing did so because the constructor failed as planned. Takes the answer.
    fn failed(&self) -> bool;
    /// Makes one construction in so many fail; 0 for none.
    fn fail_one_in(&self, n: u64);
}

/// A cache that can be used in signal handlers, whatever they interrupt.
pub trait Handlers: Sync {
    /// An object; none where there is none without asking the system for memory.
    fn alloc(&self) -> Option<NonNull<u8>>;
    /// Gives an object back.
    ///
    /// # Safety
    /// As [`Subject::free`].
    unsafe fn free(&self, object: NonNull<u8>);
}

/// A cache that can free an object after an RCU grace period (`haybarn::rcu`).
pub trait Deferred {
    /// Gives an object back after a grace period; false: there was no memory for it and the thread is in a read section, the
    /// object is the caller's.
    ///
    /// # Safety
    /// As [`Subject::free`], but readers may look at the object until their sections end.
    unsafe fn free_rcu(&self, object: NonNull<u8>) -> bool;
    /// As [`Deferred::free_rcu`], for all of them or none.
    ///
    /// # Safety
    /// As there.
    unsafe fn free_rcu_bulk(&self, objects: &mut [*mut u8]) -> bool;
    /// Waits until what was given before is free.
    fn barrier(&self);
    /// Objects that wait.
    fn pending(&self) -> u64;
}

/// A cache on several nodes.
pub trait ByNode {
    /// How many there are.
    fn nodes(&self) -> u32;
    /// An object of a node's memory; where `strict`, or none, else another node's rather than none.
    fn alloc(&self, node: u32, strict: bool) -> Option<NonNull<u8>>;
    /// The node whose memory an object is of.
    ///
    /// # Errors
    /// What is wrong with the object.
    fn node_of(&self, object: NonNull<u8>) -> Result<u32, String>;
}

/// What an allocator says about one of its caches.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// Objects handed out and not given back.
    pub objects: u64,
    /// Slabs that the cache holds.
    pub slabs: u64,
    /// Sums of the allocator's counters that must be equal while nobody uses the cache.
    pub identities: Vec<Identity>,
    /// Allocations and frees, where the allocator counts each of them exactly.
    pub hits: Option<(u64, u64)>,
    /// The counters of the report.
    pub counters: Counters,
}

/// Two sums that must be equal.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// What is summed up in two ways.
    pub what: &'static str,
    /// The sum by counting what is there.
    pub there: u64,
    /// The sum by counting what came and went.
    pub counted: u64,
}

/// A subject and the oracle's own count of what it handed out and took back.
pub struct Watched {
    /// The cache under test.
    pub subject: Box<dyn Subject>,
    id: u64,
    size: usize,
    tallies: Box<[CachePadded<Tally>]>,
}

#[derive(Default)]
struct Tally {
    born: AtomicCell<u64>,
    died: AtomicCell<u64>,
}

impl Watched {
    const STRIPES: usize = 16;

    /// Watches a cache from its beginning: the first `size` bytes of each object, at most all of them.
    #[must_use]
    pub fn new(subject: Box<dyn Subject>, size: usize) -> Self {
        static NEXT: AtomicCell<u64> = AtomicCell::new(0);
        let (id, size) = (NEXT.fetch_add(1), size.min(subject.size()));
        let tallies = (0..Self::STRIPES).map(|_| CachePadded::default()).collect();
        Self { subject, id, size, tallies }
    }

    /// A number that no other watched cache of this process has.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Bytes of an object that are watched.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Thread `thread` was handed `n` objects.
    pub fn born(&self, thread: u32, n: u64) {
        self.tallies[thread as usize % Self::STRIPES].born.fetch_add(n);
    }

    /// Thread `thread` gave `n` objects back.
    pub fn died(&self, thread: u32, n: u64) {
        self.tallies[thread as usize % Self::STRIPES].died.fetch_add(n);
    }

    /// Objects handed out and given back so far; exact when nobody uses the cache.
    #[must_use]
    pub fn tally(&self) -> (u64, u64) {
        let sum = |of: fn(&Tally) -> &AtomicCell<u64>| self.tallies.iter().map(|tally| of(tally).load()).sum();
        (sum(|tally| &tally.born), sum(|tally| &tally.died))
    }

    /// Destroys the cache.
    ///
    /// # Errors
    /// The cache as it was, and why the allocator refused.
    pub fn destroy(self) -> Result<(), (Self, String)> {
        // SAFETY: the record is owned here, so no thread uses the cache now, nor after success.
        match unsafe { self.subject.destroy() } {
            Ok(()) => Ok(()),
            Err(why) => Err((self, why)),
        }
    }
}
