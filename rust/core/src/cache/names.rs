//! Names: what a user makes and destroys. A name has the storage (slots, sheaves, slabs) of a cache, which it may share.
//!
//! The oldest living name of a storage is its *primary* (of those without an owner of their storage), the others are *aliases*. Names come and go in any order: where the
//! primary goes first, the next oldest takes its place, and the storage ends with its last name. A *hidden* name is one that
//! nobody made: it stands for a storage whose visible names are all aliases, and does not keep it.
//!
//! Sources: `kmem_cache_create`, `__kmem_cache_alias`, `kmem_cache_destroy` (mm/slab_common.c), and Vlastimil Babka's proposal
//! of primary caches: every name has an object of its own, and destroying one is no matter of the others.

use super::arena::Arena;
use super::attributes::{CacheInfo, Named, Stays};
use super::raw::RawCache;
use super::reapers::Reapers;
use crate::slab::flags::SlabFlags;
use crate::sync::Bug;
use core::any::Any;
use core::fmt;
use core::ops::Deref;
use std::sync::Arc;

/// A name of a cache.
///
/// Clones are the same name. They may be kept beyond its end: what they say of it stays, and `args.owner` is dropped with the
/// last of them. Usable from every thread; all but [`CacheName::raw`]'s handle takes the lock of the arena's registry.
///
/// ```
/// use haybarn::{AllocFlags, Arena, CacheArgs, CacheName};
/// # fn main() -> Result<(), haybarn::Error> {
/// let arena = Arena::global()?;
/// let frames = CacheName::create(arena, "frames", 1500, &CacheArgs::default())?;
/// let packets = CacheName::create(arena, "packets", 1504, &CacheArgs::default())?;
/// assert_eq!((packets.primary(), frames.aliases()), (Some("frames".into()), vec!["packets".into()]));
/// // SAFETY: nobody uses the names any more.
/// unsafe {
///     frames.destroy()?;
///     assert!(packets.is_primary());
///     packets.destroy()?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct CacheName {
    pub(super) arena: &'static Arena,
    pub(super) named: Arc<Named>,
    /// `None` of a clone that keeps nothing, and of a name with which nothing stays.
    pub(super) _stays: Option<Arc<Stays>>,
}

impl CacheName {
    /// The storage.
    ///
    /// # Safety
    /// The handle, and every copy of it, is not used after the name was destroyed.
    #[must_use]
    pub unsafe fn raw(&self) -> RawCache {
        self.storage()
    }

    /// The storage, for a while: it does not go as long as the result lives. `None` when the name is destroyed, or its storage
    /// about to be.
    ///
    /// For those who look at a cache that is not theirs. Destroying the storage waits for them: they must not wait for
    /// anything meanwhile, nor destroy this cache.
    #[must_use]
    pub fn pin(&self) -> Option<Pinned> {
        let registry = self.arena.registry();
        let entry = registry.caches.iter().find(|entry| entry.slots == self.named.slots)?;
        if !self.is_living() || entry.is_dying() {
            return None;
        }
        let storage = self.storage();
        if Bug::LookUnpinned.planted() {
            return Some(Pinned { storage, generation: u64::MAX });
        }
        storage.header().pins.change(|pins| pins + 1);
        Some(Pinned { storage, generation: Reapers::generation() })
    }

    pub(super) fn storage(&self) -> RawCache {
        RawCache::from_address(self.named.slots).expect("an address of slots")
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.named.info.name
    }

    /// The attributes: name, object size, alignment and flags are this name's, the others the storage's.
    #[must_use]
    pub fn info(&self) -> CacheInfo {
        self.named.info.clone()
    }

    /// Bytes of an object, as asked for.
    #[must_use]
    pub fn object_size(&self) -> usize {
        self.named.info.object_size
    }

    /// Flags, as asked for, and what follows from the other arguments.
    #[must_use]
    pub fn flags(&self) -> SlabFlags {
        self.named.info.flags
    }

    /// Bytes of the effective alignment that this name asked for; the storage's may be larger.
    #[must_use]
    pub fn align(&self) -> usize {
        self.named.info.align
    }

    /// Offset and size in bytes of the usercopy region; `None`: the whole object, no region.
    #[must_use]
    pub fn usercopy(&self) -> Option<(usize, usize)> {
        self.named.usercopy
    }

    /// What lives as long as the name, and longer as long as a clone of it.
    #[must_use]
    pub fn owner(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        let of_living = || {
            let _registry = self.arena.registry();
            self.named.stays()
        };
        self._stays.clone().or_else(of_living)?.owner.clone()
    }

    /// The same name in the hands of who destroys it, and may keep it as long as it likes: does not keep the owner, nor a
    /// [`CacheStorage`](crate::CacheStorage) from being set up again.
    #[must_use]
    pub fn keeping_nothing(&self) -> Self {
        Self { _stays: None, ..self.clone() }
    }

    /// Counts objects that were allocated and freed under this name, for [`CacheName::calls`]: for handles that count.
    pub fn count(&self, allocs: u64, frees: u64) {
        self.named.calls.allocs.add(allocs);
        self.named.calls.frees.add(frees);
    }

    /// Objects allocated and freed under this name by those of its users who count: [`CountedCache`](crate::CountedCache).
    /// The counters of the slots, [`RawCache::stats`], are those of all names of the storage together.
    #[must_use]
    pub fn calls(&self) -> (u64, u64) {
        self.named.calls.get()
    }

    /// The same, of names of this storage that have ended; zeroes once the storage has.
    #[must_use]
    pub fn departed_calls(&self) -> (u64, u64) {
        self.pin().map_or((0, 0), |storage| storage.header().departed.get())
    }

    /// Of living names: the same for those that share a storage, and for no others.
    #[must_use]
    pub fn storage_id(&self) -> usize {
        self.named.slots
    }

    /// Whether the name has not been destroyed.
    #[must_use]
    pub fn is_living(&self) -> bool {
        self.named.is_living()
    }

    /// Whether nobody made this name: see the hidden primary in docs/merging.md.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.named.hidden
    }

    /// The primary's name: the oldest of the storage's living names, which may be this one. `None` once it is destroyed.
    #[must_use]
    pub fn primary(&self) -> Option<String> {
        let registry = self.arena.registry();
        if !self.is_living() {
            return None;
        }
        registry.primary(self.named.slots).map(|primary| primary.info.name.clone())
    }

    /// Whether it is living and its storage's primary.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        let registry = self.arena.registry();
        self.is_living() && registry.primary(self.named.slots).is_some_and(|primary| self.is_named(primary))
    }

    /// Whether others have the same storage.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        let registry = self.arena.registry();
        self.is_living() && registry.names_of(self.named.slots).any(|other| !self.is_named(other) && !other.hidden)
    }

    /// The other names of the same storage, oldest first, without hidden ones. Empty once it is destroyed.
    #[must_use]
    pub fn aliases(&self) -> Vec<String> {
        let registry = self.arena.registry();
        if !self.is_living() {
            return Vec::new();
        }
        let others = registry.names_of(self.named.slots).filter(|other| !self.is_named(other) && !other.hidden);
        others.map(|other| other.info.name.clone()).collect()
    }

    /// Under the registry's lock.
    pub(super) fn of(arena: &'static Arena, named: &Arc<Named>) -> Self {
        Self { arena, named: named.clone(), _stays: named.stays() }
    }

    /// Whether both are the same name: not one that was made again after the other's end.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.is_named(&other.named)
    }

    pub(super) fn is_named(&self, other: &Arc<Named>) -> bool {
        Arc::ptr_eq(&self.named, other)
    }
}

impl Arena {
    /// The living names, oldest first, hidden ones and those of [`RawCache::create`] included.
    #[must_use]
    pub fn names(&'static self) -> Vec<CacheName> {
        self.registry().names.iter().map(|named| CacheName::of(self, named)).collect()
    }

    /// The living name that reads so.
    #[must_use]
    pub fn find_name(&'static self, name: &str) -> Option<CacheName> {
        self.registry().find(name).map(|named| CacheName::of(self, named))
    }

    /// What the living names read, oldest first.
    #[must_use]
    pub fn cache_names(&self) -> Vec<String> {
        self.registry().names.iter().map(|name| name.info.name.clone()).collect()
    }
}

impl fmt::Debug for CacheName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheName")
            .field("name", &self.name())
            .field("living", &self.is_living())
            .finish_non_exhaustive()
    }
}

/// A storage that does not go: see [`CacheName::pin`].
#[derive(Debug)]
pub struct Pinned {
    storage: RawCache,
    generation: u64,
}

impl Deref for Pinned {
    type Target = RawCache;

    fn deref(&self) -> &RawCache {
        &self.storage
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // A child forgets the pins of its parent, the forking thread's too: it must not take back what it does not count.
        if self.generation == Reapers::generation() {
            self.storage.header().pins.change(|pins| pins - 1);
        }
    }
}
