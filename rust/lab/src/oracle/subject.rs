//! What the oracle needs of an allocator under test, and the record that it keeps of one.

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
    /// Ends the cache; refused, and the cache stays usable, while objects are live.
    ///
    /// # Errors
    /// Why not.
    ///
    /// # Safety
    /// Nobody uses the cache during the call, nor after it if it succeeds.
    unsafe fn destroy(&self) -> Result<(), String>;
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

/// The counters that a run reports, by their names in its JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Objects that went from slabs into sheaves.
    Refill,
    /// Objects that went from sheaves back to slabs.
    Flush,
    /// Full sheaves taken from a barn.
    BarnGet,
    /// Full sheaves put into a barn.
    BarnPut,
    /// Slabs made.
    NewSlab,
    /// Slabs that a free gave back (those that shrink and destroy give back are not counted).
    FreedSlab,
    /// CPU slots drained.
    Drain,
    /// Rounds of a drain after its first.
    DrainRetry,
    /// Swaps of a slab's or a stack's word that lost a race.
    CasFail,
    /// Dead slabs whose pages went later: after a grace period, or after destructors.
    ReapedSlab,
    /// Prefilled sheaves that were a CPU's spare.
    PrefillFast,
    /// Prefilled sheaves from a barn, or new ones.
    PrefillSlow,
    /// Prefilled sheaves of more objects than the cache's sheaves hold.
    PrefillOversize,
    /// Prefilled sheaves that came back as a CPU's spare.
    ReturnFast,
    /// Prefilled sheaves that came back to a barn or to the slabs.
    ReturnSlow,
    /// Objects constructed.
    Constructed,
    /// Constructed objects that ended.
    Destructed,
    /// Slabs given up because a constructor failed.
    CtorFailed,
    /// Frees that waited for the end of a callback.
    QueuedFree,
    /// Objects that `free_rcu` put on a CPU's rcu sheaf.
    RcuSheaf,
    /// Objects of `free_rcu` that went into loose batches.
    RcuLoose,
    /// Objects of `free_rcu` whose grace period is over.
    RcuDone,
    /// Caches that a first use made (of storages with an owner, whose makers can tell).
    FirstUse,
    /// Caches that a setup made.
    Setup,
    /// Setups that found a cache there.
    SetupMet,
    /// First uses that found no cache and then one of another thread.
    UseMet,
    /// Setups that were refused because attributes were being read.
    StorageRead,
    /// Allocations that asked for another node than the CPU's, or found an object of another one.
    NodeMismatch,
    /// Objects given straight to their slab.
    SlowFree,
}

impl Counter {
    /// Every counter, in the order of the report.
    pub const ALL: [Self; 29] = [
        Self::Refill,
        Self::Flush,
        Self::BarnGet,
        Self::BarnPut,
        Self::NewSlab,
        Self::FreedSlab,
        Self::Drain,
        Self::DrainRetry,
        Self::CasFail,
        Self::ReapedSlab,
        Self::PrefillFast,
        Self::PrefillSlow,
        Self::PrefillOversize,
        Self::ReturnFast,
        Self::ReturnSlow,
        Self::Constructed,
        Self::Destructed,
        Self::CtorFailed,
        Self::QueuedFree,
        Self::RcuSheaf,
        Self::RcuLoose,
        Self::RcuDone,
        Self::FirstUse,
        Self::Setup,
        Self::SetupMet,
        Self::UseMet,
        Self::StorageRead,
        Self::NodeMismatch,
        Self::SlowFree,
    ];

    /// The name in tables and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Refill => "refill",
            Self::Flush => "flush",
            Self::BarnGet => "barn_get",
            Self::BarnPut => "barn_put",
            Self::NewSlab => "new_slab",
            Self::FreedSlab => "freed_slab",
            Self::Drain => "drain",
            Self::DrainRetry => "drain_retry",
            Self::CasFail => "cas_fail",
            Self::ReapedSlab => "reaped_slab",
            Self::PrefillFast => "prefill_fast",
            Self::PrefillSlow => "prefill_slow",
            Self::PrefillOversize => "prefill_oversize",
            Self::ReturnFast => "return_fast",
            Self::ReturnSlow => "return_slow",
            Self::Constructed => "ctor_object",
            Self::Destructed => "dtor_object",
            Self::CtorFailed => "ctor_fail",
            Self::QueuedFree => "free_queued",
            Self::RcuSheaf => "free_rcu_sheaf",
            Self::RcuLoose => "free_rcu_sheaf_fail",
            Self::RcuDone => "free_rcu_done",
            Self::FirstUse => "first_use",
            Self::Setup => "setup",
            Self::SetupMet => "setup_met",
            Self::UseMet => "use_met",
            Self::StorageRead => "storage_read",
            Self::NodeMismatch => "alloc_node_mismatch",
            Self::SlowFree => "free_slowpath",
        }
    }
}

/// A value for each [`Counter`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters([u64; Counter::ALL.len()]);

impl Counters {
    /// The values that `read` gives.
    #[must_use]
    pub fn read(read: impl Fn(Counter) -> u64) -> Self {
        Self(Counter::ALL.map(read))
    }

    /// One value.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    /// Adds another cache's values.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum += more;
        }
    }
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
