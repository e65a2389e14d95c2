//! Storage for a cache at an address that its user chose: in a `static`, in a C program's `struct kmem_cache_opaque`, in an
//! object of another language. Its size and alignment are published and checked when this is compiled.
//!
//! What lies in it is the way to the cache, not the cache: per-CPU slots number as many as the machine has CPUs, and slabs may
//! outlive the storage (a primary's do, while aliases live). So nothing of the arena ever points into the storage but the
//! name's keeper, which frees it as the last reader of the cache's attributes lets go.
//!
//! Source: `struct kmem_cache_opaque`, `kmem_cache_setup` and `to_kmem_cache` of Al Viro's series on static kmem_cache instances
//! (2026), with the defects mended that docs/faults.md names.

use super::arena::Arena;
use super::at_fork;
use super::create::CacheArgs;
use super::join::create_in_storage;
use super::names::CacheName;
use super::raw::RawCache;
use crate::error::Error;
use crate::percpu::{MAX_CPUS, NEGATIVE_SLOTS, Slot};
use crate::sync::{Phase, PublishedPtr, Refused, SetupWord};
use core::any::Any;
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::panic::{RefUnwindSafe, UnwindSafe};
use core::ptr::NonNull;
use std::sync::Arc;

const TABLE: usize = MAX_CPUS + NEGATIVE_SLOTS;

/// The slots of every cache that is not set up.
#[repr(transparent)]
struct Unset(UnsafeCell<[Slot; TABLE]>);

// SAFETY: nothing ever writes a slot on which everything misses.
unsafe impl Sync for Unset {}

static UNSET: Unset = Unset(UnsafeCell::new([const { Slot::closed() }; TABLE]));

/// Slots on which everything misses: what an inlined path needs no test for.
const fn unset_slots() -> *mut Slot {
    UNSET.0.get().cast::<Slot>().wrapping_add(NEGATIVE_SLOTS)
}

/// Storage for one cache, of [`CacheStorage::SIZE`] bytes at a multiple of [`CacheStorage::ALIGN`].
///
/// Memory of zeros is storage that is free. Usable from every thread; setups and ends are made one at a time.
///
/// ```
/// use haybarn::{AllocFlags, Arena, CacheArgs, CacheStorage};
/// static STORAGE: CacheStorage = CacheStorage::new();
/// # fn main() -> Result<(), haybarn::Error> {
/// STORAGE.setup(Arena::global()?, "packets", 1500, &CacheArgs::default())?;
/// let packet = STORAGE.raw().and_then(|cache| cache.alloc(AllocFlags::empty()));
/// # assert!(packet.is_some());
/// # Ok(())
/// # }
/// ```
#[repr(C, align(64))]
pub struct CacheStorage {
    /// The cache's slots, first, where inlined paths and other languages find them; null in memory of zeros.
    slots: PublishedPtr<Slot>,
    phase: SetupWord,
    /// The name, while the storage is set up. Under the lock of setups.
    name: UnsafeCell<MaybeUninit<CacheName>>,
    /// Room for what later versions keep here.
    rest: [u64; 3],
}

const _: () =
    assert!(size_of::<CacheStorage>() == CacheStorage::SIZE && align_of::<CacheStorage>() == CacheStorage::ALIGN);

// SAFETY: the name is touched under the lock of setups only, and is itself usable from every thread; the rest is atomic.
unsafe impl Sync for CacheStorage {}
// SAFETY: as above.
unsafe impl Send for CacheStorage {}

/// Frees the storage as the cache's name goes, with its last reader.
struct Keeper {
    storage: NonNull<CacheStorage>,
    /// What keeps the storage's memory, where that is not the user's word.
    _memory: Option<Arc<CacheStorage>>,
}

// SAFETY: the pointer is used once, for an atomic store; whoever gave it said that the memory stays until then.
unsafe impl Send for Keeper {}
// SAFETY: as above.
unsafe impl Sync for Keeper {}

impl Drop for Keeper {
    fn drop(&mut self) {
        // SAFETY: by the word of who set it up, or by the reference beside it, the memory stays until this.
        unsafe { self.storage.as_ref() }.phase.release();
    }
}

impl CacheStorage {
    /// Bytes of a storage. Part of the C interface.
    pub const SIZE: usize = 64;
    /// Alignment of a storage. Part of the C interface.
    pub const ALIGN: usize = 64;

    /// Free storage.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            slots: PublishedPtr::new(unset_slots()),
            phase: SetupWord::new(),
            name: UnsafeCell::new(MaybeUninit::uninit()),
            rest: [0; 3],
        }
    }

    /// Makes a cache in this storage, under a name of its own. Without `args.owner` others may be merged into it; with one its
    /// objects lie in another cache's slabs where merging is allowed, since slabs may not lead to what the owner takes along.
    /// `args.owner` is dropped when the cache has been destroyed and nobody holds its name any more.
    ///
    /// # Errors
    /// [`Error::AlreadySetUp`] while a cache is set up in it; [`Error::StorageInUse`] after its end while its attributes
    /// are still being read; otherwise as [`RawCache::create`]. The storage is as it was after any of them: the setup may be
    /// tried again.
    ///
    /// # Panics
    /// As [`RawCache::create`].
    pub fn setup(
        &'static self,
        arena: &'static Arena,
        name: &str,
        size: usize,
        args: &CacheArgs,
    ) -> Result<CacheName, Error> {
        self.set_up(None, arena, name, size, args)
    }

    /// As [`CacheStorage::setup`], in storage that is counted: it lives at least as long as what is set up in it.
    ///
    /// # Errors
    /// As [`CacheStorage::setup`].
    pub fn setup_shared(
        self: &Arc<Self>,
        arena: &'static Arena,
        name: &str,
        size: usize,
        args: &CacheArgs,
    ) -> Result<CacheName, Error> {
        self.set_up(Some(self), arena, name, size, args)
    }

    /// As [`CacheStorage::setup`], in storage that another language gave.
    ///
    /// # Errors
    /// As [`CacheStorage::setup`].
    ///
    /// # Safety
    /// `storage` leads to [`CacheStorage::SIZE`] bytes at a multiple of [`CacheStorage::ALIGN`], zero before the first setup and
    /// written by these calls only since. After a success they stay until [`CacheStorage::is_free`], which an owner that
    /// holds them is dropped after.
    pub unsafe fn setup_at(
        storage: NonNull<Self>,
        arena: &'static Arena,
        name: &str,
        size: usize,
        args: &CacheArgs,
    ) -> Result<CacheName, Error> {
        // SAFETY: the caller's word.
        unsafe { storage.as_ref() }.set_up(None, arena, name, size, args)
    }

    /// The cache of this storage, set up now if nobody has: threads that meet here get one cache, by the arguments of one of
    /// them. What [`StaticCache`](crate::StaticCache) does when it is first used.
    ///
    /// # Errors
    /// As [`CacheStorage::setup`], but for a cache that is there.
    pub fn get_or_setup(
        &'static self,
        arena: &'static Arena,
        name: &str,
        size: usize,
        args: &CacheArgs,
    ) -> Result<RawCache, Error> {
        if let Some(raw) = self.raw() {
            return Ok(raw);
        }
        match (self.setup(arena, name, size, args), self.raw()) {
            (Ok(name), _) => Ok(name.storage()),
            (Err(Error::AlreadySetUp { .. }), Some(raw)) => Ok(raw),
            (Err(error), _) => Err(error),
        }
    }

    /// `memory` is what keeps the storage there, if that is not the word of the caller's caller.
    fn set_up(
        &self,
        memory: Option<&Arc<Self>>,
        arena: &'static Arena,
        name: &str,
        size: usize,
        args: &CacheArgs,
    ) -> Result<CacheName, Error> {
        let make = || {
            // Made only here, where the storage is free and ours: one that goes frees it.
            let keeper = Keeper { storage: NonNull::from(self), _memory: memory.cloned() };
            create_in_storage(arena, name, size, args, Box::new(keeper))
        };
        let publish = |made: &CacheName| {
            // SAFETY: the lock is held, and free storage holds no name.
            unsafe { (*self.name.get()).write(made.clone()) };
            self.slots.publish(made.storage().slots().0);
        };
        self.phase.set_up(at_fork::setup_once, make, publish).map_err(|refused| match refused {
            Refused::Failed(error) => error,
            Refused::Locked => at_fork::refused(format!("a setup of cache '{name}'")),
            Refused::Phase(Phase::Read) => Error::StorageInUse { cache: name.to_owned() },
            Refused::Phase(_) => {
                let there = self.name();
                Error::AlreadySetUp { cache: there.map_or_else(|| name.to_owned(), |there| there.name().to_owned()) }
            }
        })
    }

    /// The untyped handle, while a cache is set up here: one load, and all that the setup did before is seen.
    #[inline]
    #[must_use]
    pub fn raw(&self) -> Option<RawCache> {
        let slots = self.slots.read();
        if slots == unset_slots() { None } else { RawCache::from_address(slots.expose_provenance()) }
    }

    /// Where the address of the slots lies, for the inlined paths: storage made by [`CacheStorage::new`] always holds slots.
    #[inline(always)]
    pub(super) const fn place(&self) -> *const *mut Slot {
        self.slots.place()
    }

    /// The name of the cache that is set up here.
    #[must_use]
    pub fn name(&self) -> Option<CacheName> {
        // A handler that interrupted a setup of its own thread has the turn already: what it sees, nobody changes.
        let _turn = at_fork::setup_once();
        let there = matches!(self.phase.phase(), Phase::SetUp | Phase::Ending);
        // SAFETY: the lock is held, and from setup to end there is a name.
        there.then(|| unsafe { (*self.name.get()).assume_init_ref() }.clone())
    }

    /// The owner of the cache that is set up here, if it has one.
    #[must_use]
    pub fn owner(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.name()?.owner()
    }

    /// Whether the storage may be set up, or its memory go: it never was, or its cache's end has gone as far as its last
    /// reader.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.phase.phase() == Phase::Free
    }

    /// Ends the cache. The storage is free when nobody holds the cache's name any more, which may be at once.
    ///
    /// # Errors
    /// [`Error::NotSetUp`]; otherwise as [`RawCache::destroy`], and the cache stays as it is.
    ///
    /// # Safety
    /// As [`RawCache::destroy`]. A cache in storage is ended by this only, not by [`CacheName::destroy`].
    pub unsafe fn destroy(&self) -> Result<(), Error> {
        // SAFETY: the caller's word.
        self.end_by(|name| unsafe { name.destroy() }.map(|()| true)).map(|_| ())
    }

    /// [`CacheStorage::destroy`] by `end`, which destroys the name; false: it did not, and all is as it was.
    ///
    /// # Errors
    /// [`Error::NotSetUp`]; those of `end`.
    #[doc(hidden)]
    pub fn end_by(&self, end: impl FnOnce(&CacheName) -> Result<bool, Error>) -> Result<bool, Error> {
        let not_set_up = || Error::NotSetUp { cache: String::new() };
        let name = self.name().ok_or_else(not_set_up)?;
        let unpublish = || {
            self.slots.publish(unset_slots());
            // SAFETY: the lock is held; the name is read once, as the storage's phase goes on.
            unsafe { (*self.name.get()).assume_init_read() }
        };
        let destroy = || if end(&name).map_err(Some)? { Ok(()) } else { Err(None) };
        let ended = self.phase.end(at_fork::setup_once, destroy, unpublish);
        // Dropped here, outside of the lock: the last one frees the storage and drops the owner.
        match ended.map(drop) {
            Ok(()) => Ok(true),
            Err(Refused::Failed(None)) => Ok(false),
            Err(Refused::Failed(Some(error))) => Err(error),
            Err(Refused::Locked) => Err(at_fork::refused(format!("the end of cache '{}'", name.name()))),
            Err(Refused::Phase(_)) => Err(not_set_up()),
        }
    }
}

impl Default for CacheStorage {
    fn default() -> Self {
        Self::new()
    }
}

// What a panic could leave half done is told by the phase, which changes last.
impl UnwindSafe for CacheStorage {}
impl RefUnwindSafe for CacheStorage {}

impl core::fmt::Debug for CacheStorage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("CacheStorage").field("phase", &self.phase.phase()).finish_non_exhaustive()
    }
}
