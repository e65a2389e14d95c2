//! Storage for caches: of a published shape, free again when the last reader has gone, its owner let go of last.

mod support;

use haybarn::sync::Counter;
use haybarn::{AllocFlags, Arena, CacheArgs, CacheName, CacheStorage, Error};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::any::Any;
use std::ptr::NonNull;
use std::sync::Arc;
use support::{audit, every_arena};

fn arena() -> &'static Arena {
    Arena::global().unwrap()
}

fn use_it(storage: &CacheStorage, objects: usize) {
    let cache = storage.raw().unwrap();
    let held = support::take_many(cache, objects);
    assert_eq!(cache.stats().objects, objects as u64);
    support::give(cache, held);
    audit(cache, 0);
}

/// Counts its end. What it does there would wait for ever under any of the library's locks.
struct Owner(Arc<Counter>);

impl Drop for Owner {
    fn drop(&mut self) {
        let name = format!("owner-s-own-{:p}", self.0);
        let own = CacheName::create(arena(), &name, 32, &CacheArgs::default()).unwrap();
        let there = arena().cache_names();
        assert!(there.contains(&name));
        // SAFETY: nobody else knows it.
        unsafe { own.destroy() }.unwrap();
        self.0.add(1);
    }
}

fn owned() -> (CacheArgs, Arc<Counter>) {
    let gone = Arc::new(Counter::new());
    let owner: Arc<dyn Any + Send + Sync> = Arc::new(Owner(gone.clone()));
    (CacheArgs { owner: Some(owner), ..CacheArgs::default() }, gone)
}

#[test]
fn the_shape_is_published() {
    assert_eq!((size_of::<CacheStorage>(), align_of::<CacheStorage>()), (CacheStorage::SIZE, CacheStorage::ALIGN));
    assert_eq!((CacheStorage::SIZE, CacheStorage::ALIGN), (64, 64));
}

static PLAIN: CacheStorage = CacheStorage::new();

#[test]
fn storage_holds_one_cache_after_the_other() {
    for (round, arena) in every_arena().into_iter().enumerate() {
        assert!(PLAIN.is_free() && PLAIN.raw().is_none() && PLAIN.name().is_none());
        let name = format!("storage-{round}");
        let made = PLAIN.setup(arena, &name, 100 + round, &CacheArgs::default()).unwrap();
        assert_eq!((made.name(), PLAIN.name().unwrap().name()), (&*name, &*name));
        assert!(!PLAIN.is_free());
        let again = PLAIN.setup(arena, "another", 64, &CacheArgs::default()).map(drop).unwrap_err();
        assert_eq!(again, Error::AlreadySetUp { cache: name.clone() });
        assert_eq!(PLAIN.get_or_setup(arena, "another", 64, &CacheArgs::default()), Ok(PLAIN.raw().unwrap()));
        use_it(&PLAIN, 500);
        let kept = PLAIN.raw().unwrap().alloc(AllocFlags::empty()).unwrap();
        // SAFETY: nobody else uses the cache, here and below.
        assert!(matches!(unsafe { PLAIN.destroy() }, Err(Error::CacheBusy { live: 1, .. })));
        // SAFETY: ours; a refused end leaves the cache usable.
        unsafe { PLAIN.raw().unwrap().free(kept) };
        drop(made);
        // SAFETY: as above.
        unsafe { PLAIN.destroy() }.unwrap();
        // SAFETY: as above.
        let twice = unsafe { PLAIN.destroy() }.unwrap_err();
        assert_eq!(twice.to_string(), "not set up: call setup() first");
        assert_eq!(arena.cache_names(), Vec::<String>::new());
    }
}

static READ: CacheStorage = CacheStorage::new();

#[test]
fn the_owner_goes_with_the_last_reader_and_so_does_the_claim_on_the_storage() {
    for _round in 0..3 {
        let (args, gone) = owned();
        let name = READ.setup(arena(), "storage-read", 48, &args).unwrap();
        assert!(Arc::ptr_eq(&READ.owner().unwrap(), args.owner.as_ref().unwrap()));
        drop(args);
        use_it(&READ, 100);
        let reader = READ.name().unwrap();
        drop(name);
        // SAFETY: nobody uses the cache.
        unsafe { READ.destroy() }.unwrap();
        assert!(
            READ.raw().is_none() && READ.name().is_none() && !arena().cache_names().contains(&"storage-read".into())
        );
        // A reader may take its time: neither goes before it does.
        let early = READ.setup(arena(), "storage-early", 48, &CacheArgs::default()).map(drop).unwrap_err();
        assert_eq!(early, Error::StorageInUse { cache: "storage-early".into() });
        assert!(!READ.is_free() && gone.get() == 0 && reader.owner().is_some());
        assert_eq!(reader.name(), "storage-read");
        std::thread::spawn(move || drop(reader)).join().unwrap();
        assert!(READ.is_free());
        assert_eq!(gone.get(), 1);
    }
}

static FAILS: CacheStorage = CacheStorage::new();

#[test]
fn a_setup_that_fails_keeps_no_owner() {
    let (args, gone) = owned();
    let bad = CacheArgs { align: 5, ..args.clone() };
    let refused = FAILS.setup(arena(), "storage-fails", 48, &bad).map(drop);
    assert!(matches!(refused, Err(Error::BadArgument { argument: "align", .. })));
    assert!(FAILS.is_free() && FAILS.owner().is_none());
    drop(bad);
    FAILS.setup(arena(), "storage-fails", 48, &args).map(drop).unwrap();
    drop(args);
    assert_eq!(gone.get(), 0);
    // SAFETY: nobody uses the cache.
    unsafe { FAILS.destroy() }.unwrap();
    assert!(gone.get() == 1 && FAILS.is_free());
}

#[test]
fn zeroed_memory_of_another_language_is_free_storage() {
    let layout = Layout::from_size_align(CacheStorage::SIZE, CacheStorage::ALIGN).unwrap();
    // SAFETY: the layout is not of size 0.
    let place = NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap().cast::<CacheStorage>();
    // SAFETY: zeroes are free storage, and the memory stays until it is free again.
    let storage = unsafe { place.as_ref() };
    assert!(storage.is_free() && storage.raw().is_none() && storage.name().is_none());
    // SAFETY: nobody uses a cache in it.
    assert!(matches!(unsafe { storage.destroy() }, Err(Error::NotSetUp { .. })));
    for _ in 0..2 {
        // SAFETY: as above.
        let name =
            unsafe { CacheStorage::setup_at(place, arena(), "storage-foreign", 72, &CacheArgs::default()) }.unwrap();
        use_it(storage, 300);
        // SAFETY: nobody uses the cache.
        unsafe { storage.destroy() }.unwrap();
        assert!(!storage.is_free());
        drop(name);
        assert!(storage.is_free());
    }
    // SAFETY: it is free, and the layout is that of the allocation.
    unsafe { dealloc(place.as_ptr().cast(), layout) };
}

#[test]
fn counted_storage_lives_as_long_as_what_is_in_it() {
    let storage = Arc::new(CacheStorage::new());
    let weak = Arc::downgrade(&storage);
    let name = storage.setup_shared(arena(), "storage-counted", 24, &CacheArgs::default()).unwrap();
    use_it(&storage, 100);
    drop(storage);
    let storage = weak.upgrade().expect("the cache keeps its storage");
    // SAFETY: nobody uses the cache.
    unsafe { storage.destroy() }.unwrap();
    drop(storage);
    assert!(weak.upgrade().is_some(), "a reader keeps it too");
    drop(name);
    assert!(weak.upgrade().is_none());
}

static CROWD: CacheStorage = CacheStorage::new();

/// Setups, ends and readers of many threads: each cache is made once and ended once, and its owner goes once.
#[test]
fn setups_ends_and_readers_meet() {
    let (gone, made) = (Arc::new(Counter::new()), Counter::new());
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let (gone, made) = (gone.clone(), &made);
            scope.spawn(move || {
                for _ in 0..400 {
                    let owner: Arc<dyn Any + Send + Sync> = Arc::new(Counts(gone.clone()));
                    let args = CacheArgs { owner: Some(owner), ..CacheArgs::default() };
                    match CROWD.setup(arena(), "storage-crowd", 64 + thread, &args) {
                        Ok(name) => {
                            made.add(1);
                            assert_eq!(name.name(), "storage-crowd");
                            // SAFETY: the others end nothing that they have not set up, and use no objects.
                            unsafe { CROWD.destroy() }.unwrap();
                        }
                        Err(Error::AlreadySetUp { .. } | Error::StorageInUse { .. }) => {
                            gone.sub(1);
                            if let Some(reader) = CROWD.name() {
                                assert_eq!(reader.name(), "storage-crowd");
                                assert!(reader.owner().is_some());
                            }
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    assert!(CROWD.is_free() && made.get() > 0);
    assert_eq!(gone.get(), made.get(), "an owner stayed, or went twice");
}

struct Counts(Arc<Counter>);

impl Drop for Counts {
    fn drop(&mut self) {
        self.0.add(1);
    }
}
