//! A cache with a constructor and a destructor under test: what they leave in each object, and their own books.
//!
//! The last words of an object are its constructed state: a mark made of its address, and a part that the constructor takes
//! from another cache and the destructor gives back to it. Whoever owns the object meanwhile leaves these words alone.

use crate::oracle::subject::{Constructed, Identity};
use crossbeam_utils::atomic::AtomicCell;
use haybarn::{
    AllocFlags, Arena, CacheArgs, CacheStats, CtorError, DtorMode, Error, Hooks, RawCache, SlabFlags, Stat,
    take_ctor_error,
};
use std::ptr::NonNull;
use std::sync::Arc;

/// The constructed state of an object.
#[repr(C)]
struct State {
    mark: u64,
    part: *mut u64,
}

/// Bytes at an object's end that are its constructed state.
pub(super) const STATE: usize = size_of::<State>();

const ALIVE: u64 = 0x600d_c0de_600d_c0de;
const DEAD: u64 = 0xdead_c0de_dead_c0de;

/// Why these constructors fail.
#[derive(Debug)]
enum Failure {
    /// It was told to.
    Planned,
    /// There was no part to be had.
    NoPart,
}

/// The hooks, and what they wrote down.
struct Book {
    parts: RawCache,
    size: usize,
    fail_one_in: AtomicCell<u64>,
    calls: AtomicCell<u64>,
    constructed: AtomicCell<u64>,
    destructed: AtomicCell<u64>,
    /// Objects that were not as they had to be when they were destructed.
    odd: AtomicCell<u64>,
}

// SAFETY: the handle of a cache may be used by every thread; the rest is atomic.
unsafe impl Sync for Book {}

impl Book {
    fn state(&self, object: NonNull<u8>) -> *mut State {
        object.as_ptr().wrapping_add(self.size - STATE).cast()
    }

    /// Whether the constructed state of an object is whole.
    ///
    /// # Safety
    /// The object is of the cache and constructed, and nobody writes to its state.
    unsafe fn verify(&self, object: NonNull<u8>) -> Result<(), String> {
        let address = object.as_ptr().addr() as u64;
        // SAFETY: the caller's word; the state lies inside the object, at a multiple of eight.
        let State { mark, part } = unsafe { self.state(object).read() };
        if mark != address ^ ALIVE {
            let dead = if mark == address ^ DEAD { " (destructed)" } else { "" };
            return Err(format!("mark {mark:#x}{dead}"));
        }
        // SAFETY: a constructed object has a part.
        let owner = unsafe { part.read() };
        if owner == address { Ok(()) } else { Err(format!("a part of {owner:#x}")) }
    }
}

impl Hooks for Book {
    fn construct(&self, object: NonNull<u8>) -> Result<(), CtorError> {
        let call = self.calls.fetch_add(1);
        let one_in = self.fail_one_in.load();
        if one_in > 0 && (call.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).is_multiple_of(one_in) {
            return Err(CtorError(Box::new(Failure::Planned)));
        }
        let part = self.parts.alloc(AllocFlags::empty()).ok_or_else(|| CtorError(Box::new(Failure::NoPart)))?;
        let address = object.as_ptr().addr() as u64;
        // SAFETY: part and object are ours, and large enough.
        unsafe {
            part.cast::<u64>().write(address);
            self.state(object).write(State { mark: address ^ ALIVE, part: part.as_ptr().cast() });
        }
        self.constructed.fetch_add(1);
        Ok(())
    }

    fn destruct(&self, object: NonNull<u8>) {
        self.destructed.fetch_add(1);
        // SAFETY: nobody has the object any more.
        if unsafe { self.verify(object) }.is_err() {
            self.odd.fetch_add(1);
            return;
        }
        // SAFETY: as above; the part is the object's.
        unsafe {
            let state = self.state(object);
            if let Some(part) = NonNull::new((*state).part.cast::<u8>()) {
                self.parts.free(part);
            }
            (*state).mark = object.as_ptr().addr() as u64 ^ DEAD;
        }
    }
}

/// The hooks of a cache under test, and the cache of their parts.
pub(super) struct Construction {
    book: Arc<Book>,
}

impl Construction {
    /// For a cache of objects of `size` bytes, a multiple of 8.
    ///
    /// # Errors
    /// As [`RawCache::create`].
    pub fn new(arena: &'static Arena, name: &str, size: usize) -> Result<Self, Error> {
        // Without sheaves every free of a part comes by the slow path, where it waits for the end of the destructor.
        let args = CacheArgs { flags: SlabFlags::NOLEAKTRACE, ..CacheArgs::default() };
        let parts = RawCache::create(arena, &format!("{name}-parts"), 64, &args)?;
        let (fail_one_in, calls, odd) = (AtomicCell::new(0), AtomicCell::new(0), AtomicCell::new(0));
        let (constructed, destructed) = (AtomicCell::new(0), AtomicCell::new(0));
        Ok(Self { book: Arc::new(Book { parts, size, fail_one_in, calls, constructed, destructed, odd }) })
    }

    /// What makes a cache one with these hooks.
    pub fn args(&self, dtor_mode: DtorMode, args: CacheArgs) -> CacheArgs {
        CacheArgs { hooks: Some(self.book.clone()), dtor_mode, ..args }
    }

    /// Runs the destructors that wait, until none does; nobody uses the cache meanwhile.
    pub fn settle(&self, cache: RawCache) {
        while cache.dead_slabs() > 0 {
            cache.reap();
            std::thread::yield_now();
        }
    }

    /// Parts whose free waited for the end of a destructor.
    pub fn queued(&self) -> u64 {
        self.book.parts.stats().get(Stat::FreeQueued)
    }

    /// The books of hooks and cache, and what there is.
    pub fn identities(&self, stats: &CacheStats) -> [Identity; 4] {
        let (ctor, dtor) = (self.book.constructed.load(), self.book.destructed.load());
        [
            Identity { what: "constructed objects of living slabs", there: stats.total_objects, counted: ctor - dtor },
            Identity { what: "constructors", there: ctor, counted: stats.get(Stat::CtorObject) },
            Identity { what: "destructors", there: dtor, counted: stats.get(Stat::DtorObject) },
            Identity { what: "objects that were odd when they ended", there: self.book.odd.load(), counted: 0 },
        ]
    }

    /// After the cache has ended: every object was destructed, and the parts are all there.
    ///
    /// # Errors
    /// What is not so.
    ///
    /// # Safety
    /// The cache has ended, and nobody else asks this.
    pub unsafe fn end(&self) -> Result<(), String> {
        let (ctor, dtor) = (self.book.constructed.load(), self.book.destructed.load());
        if ctor != dtor {
            return Err(format!("the cache ended with {ctor} objects constructed and {dtor} destructed"));
        }
        // SAFETY: the caller's word: only the hooks knew the cache.
        unsafe { self.book.parts.destroy() }.map_err(|error| error.to_string())
    }
}

impl Constructed for Construction {
    unsafe fn inspect(&self, object: NonNull<u8>) -> Result<(), String> {
        // SAFETY: the caller's word.
        unsafe { self.book.verify(object) }
    }

    fn failed(&self) -> bool {
        let error = take_ctor_error();
        let failure = error.as_ref().and_then(|error| error.0.downcast_ref::<Failure>());
        // No part: memory is out, which the scenario accounts for as everywhere.
        matches!(failure, Some(Failure::Planned))
    }

    fn fail_one_in(&self, n: u64) {
        self.book.fail_one_in.store(n);
    }
}
