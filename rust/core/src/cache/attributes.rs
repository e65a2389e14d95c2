#![forbid(unsafe_code)]
//! What does not change about a name: its attributes, and its entry in the registry.

use crate::percpu::BackendKind;
use crate::slab::flags::SlabFlags;
use crate::sync::{Counter, Published};
use core::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

/// A cache's attributes, under Linux's names. Sizes are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheInfo {
    /// The name.
    pub name: String,
    /// What the user may touch of an object.
    pub object_size: usize,
    /// The stride from one object to the next.
    pub slab_size: usize,
    /// Effective alignment.
    pub align: usize,
    /// A slab has `1 << order` pages.
    pub order: u8,
    /// Objects of a slab of that order.
    pub objs_per_slab: u32,
    /// Wholly free slabs that each node keeps; may be changed, here is what it was when this was asked.
    pub min_partial: u64,
    /// Objects of a sheaf.
    pub sheaf_capacity: u32,
    /// Offset of the free pointer in a free object.
    pub freeptr_offset: usize,
    /// Flags.
    pub flags: SlabFlags,
    /// Whether `alloc_fastpath` and `free_fastpath` count the inlined hits.
    pub counts_hits: bool,
    /// The backend of the cache's arena.
    pub backend: BackendKind,
}

/// Objects that were allocated and freed under a name, or several.
#[derive(Debug)]
pub(crate) struct Calls {
    pub allocs: Counter,
    pub frees: Counter,
}

impl Calls {
    pub const fn new() -> Self {
        Self { allocs: Counter::new(), frees: Counter::new() }
    }

    pub fn get(&self) -> (u64, u64) {
        (self.allocs.get(), self.frees.get())
    }
}

/// A name, as its arena's registry has it.
pub(super) struct Named {
    pub info: CacheInfo,
    pub usercopy: Option<(usize, usize)>,
    /// Nobody made it: it stands for a storage whose other names are all aliases.
    pub hidden: bool,
    /// It is never the primary: its owner may go, and what stands for a storage must not go with it.
    pub behind: bool,
    /// Address of the storage's slot of CPU 0.
    pub slots: usize,
    /// By those of its users who count.
    pub calls: Calls,
    /// 1 once it has been taken out of the registry.
    pub gone: Published,
    /// What stays with the name. Under the registry's lock; gone with who takes the name out.
    pub stays: Mutex<Option<Arc<Stays>>>,
}

/// What stays until a name has been destroyed and its last clone is gone.
pub(super) struct Stays {
    /// Frees the cache's storage, where its address was chosen beforehand.
    #[expect(dead_code, reason = "held, not looked at")]
    pub keeper: Option<Box<dyn Any + Send + Sync>>,
    /// Goes after the storage, which may lie in what it owns.
    pub owner: Option<Arc<dyn Any + Send + Sync>>,
}

impl Named {
    pub fn new(info: CacheInfo, slots: usize) -> Self {
        let (usercopy, hidden, behind, gone) = (None, false, false, Published::new(0));
        Self { info, slots, usercopy, hidden, behind, calls: Calls::new(), gone, stays: Mutex::new(None) }
    }

    /// What stays with it; under the registry's lock.
    pub fn stays(&self) -> Option<Arc<Stays>> {
        self.stays.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn is_living(&self) -> bool {
        self.gone.read() == 0
    }

    /// Under the registry's lock, by who takes it out and drops what this gives when the lock is free: foreign code may run then.
    #[must_use]
    pub fn set_gone(&self) -> Option<Arc<Stays>> {
        self.gone.publish(1);
        self.stays.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
