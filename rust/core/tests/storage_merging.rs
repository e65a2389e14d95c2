//! Caches in storage and the others: whom they share slabs with, who stands for whom, and what outlives what.

mod support;

use haybarn::{Arena, BackendKind, CacheArgs, CacheName, CacheStorage, Error, Form, SlabFlags, StaticCache};
use std::sync::{Arc, Weak};
use support::{audit, config, give, take_many};

fn arena() -> &'static Arena {
    Arena::create(config(BackendKind::Locked, Form::Packed)).unwrap()
}

fn dynamic(arena: &'static Arena, name: &str, size: usize) -> CacheName {
    CacheName::create(arena, name, size, &CacheArgs::default()).unwrap()
}

fn plain(arena: &'static Arena, storage: &'static CacheStorage, name: &str, size: usize) -> CacheName {
    storage.setup(arena, name, size, &CacheArgs::default()).unwrap()
}

/// In storage that belongs to something that may go.
fn owned(arena: &'static Arena, storage: &'static CacheStorage, name: &str, size: usize) -> (CacheName, Weak<()>) {
    let owner = Arc::new(());
    let weak = Arc::downgrade(&owner);
    let args = CacheArgs { owner: Some(owner), ..CacheArgs::default() };
    (storage.setup(arena, name, size, &args).unwrap(), weak)
}

fn new() -> &'static CacheStorage {
    Box::leak(Box::default())
}

fn primary(name: &CacheName) -> String {
    name.primary().unwrap()
}

fn end(storage: &CacheStorage) {
    // SAFETY: nobody uses the cache.
    unsafe { storage.destroy() }.unwrap();
}

fn gone(name: &CacheName) {
    // SAFETY: nobody uses its handles.
    unsafe { name.destroy() }.unwrap();
}

/// Version 3 of the series: one without an owner is no alias of what is there, but later ones may be its.
#[test]
fn a_cache_in_storage_joins_nobody_and_is_joined() {
    let (arena, storage) = (arena(), new());
    let before = dynamic(arena, "before", 64);
    let fixed = plain(arena, storage, "fixed", 64);
    assert!(fixed.is_primary() && before.is_primary());
    assert_ne!(storage.raw(), Some(unsafe_raw(&before)));
    gone(&before);
    let after = dynamic(arena, "after", 64);
    assert_eq!((primary(&after), fixed.aliases()), ("fixed".to_owned(), vec!["after".to_owned()]));
    assert_eq!(storage.raw(), Some(unsafe_raw(&after)));
    // The storage goes first: the slabs are the alias's from then on, and the storage can hold another cache.
    let held = take_many(storage.raw().unwrap(), 300);
    drop(fixed);
    end(storage);
    assert!(storage.is_free() && after.is_primary());
    let again = plain(arena, storage, "again", 64);
    assert!(again.is_primary());
    let cache = unsafe_raw(&after);
    give(cache, held);
    audit(cache, 0);
    end(storage);
    gone(&after);
    drop(again);
    assert_eq!(arena.cache_names(), Vec::<String>::new());
}

fn unsafe_raw(name: &CacheName) -> haybarn::RawCache {
    // SAFETY: the tests use it while the name is there.
    unsafe { name.raw() }
}

/// One with an owner shares as any other, but is never what stands for the slabs: where nobody else is, a hidden name does.
#[test]
fn a_cache_in_owned_storage_lies_behind_a_hidden_primary() {
    let (arena, storage, second) = (arena(), new(), new());
    let (name, owner) = owned(arena, storage, "module-s", 64);
    let names = arena.names();
    let hidden = names.iter().find(|name| name.is_hidden()).expect("a hidden primary");
    assert!(!name.is_primary() && hidden.is_primary() && primary(&name) == hidden.name());
    assert_eq!((hidden.name(), hidden.object_size(), hidden.aliases()), (":0000064", 64, vec!["module-s".to_owned()]));
    let (other, other_s) = owned(arena, second, "other-module-s", 64);
    let later = dynamic(arena, "later", 64);
    for alias in [&name, &other, &later] {
        assert_eq!(primary(alias), hidden.name());
        assert_eq!(unsafe_raw(alias), storage.raw().unwrap());
    }
    let held = take_many(storage.raw().unwrap(), 100);
    drop((name, names));
    // The module goes, with live objects in slabs that others have too.
    end(storage);
    assert!(owner.upgrade().is_none() && storage.is_free());
    give(unsafe_raw(&later), held);
    drop(other);
    end(second);
    assert!(other_s.upgrade().is_none());
    // The hidden name does not keep the slabs.
    gone(&later);
    assert_eq!(arena.cache_names(), Vec::<String>::new());
}

#[test]
fn a_cache_in_owned_storage_joins_the_oldest_that_fits() {
    let (arena, storage, target) = (arena(), new(), new());
    let built_in = plain(arena, target, "built-in", 96);
    let (name, _) = owned(arena, storage, "module-s", 96);
    assert_eq!((primary(&name), arena.cache_names().len()), ("built-in".to_owned(), 2));
    // The primary goes first: an owned name does not take its place.
    drop(built_in);
    end(target);
    assert!(!name.is_primary());
    assert_eq!(primary(&name), ":0000096");
    assert!(arena.find_name(":0000096").unwrap().is_hidden());
    // A name that somebody makes is the next one to stand for the slabs when the hidden one does not: it stays hidden here.
    let later = dynamic(arena, "later", 96);
    assert_eq!(primary(&later), ":0000096");
    drop(name);
    end(storage);
    gone(&later);
    assert_eq!(arena.cache_names(), Vec::<String>::new());
}

#[test]
fn what_cannot_merge_stands_for_itself_owned_or_not() {
    let (arena, storage) = (arena(), new());
    for flags in [SlabFlags::NO_MERGE, SlabFlags::TYPESAFE_BY_RCU] {
        let args = CacheArgs { flags, owner: Some(Arc::new(())), ..CacheArgs::default() };
        let name = storage.setup(arena, "alone", 64, &args).unwrap();
        assert!(name.is_primary() && arena.cache_names() == ["alone"]);
        drop(name);
        end(storage);
        assert!(storage.is_free());
    }
}

/// The kernel's E10: as many static caches of one size as one likes, each under its own name.
#[test]
fn e10_static_caches_of_one_size_have_names_of_their_own() {
    static ONE: StaticCache<[u64; 8]> = StaticCache::new("e10-one");
    static OTHER: StaticCache<[i64; 8]> = StaticCache::new("e10-other");
    let arena = arena();
    ONE.setup_in(arena, &CacheArgs::default()).unwrap();
    OTHER.setup_in(arena, &CacheArgs::default()).unwrap();
    let (storage, second) = (new(), new());
    let (a, _) = owned(arena, storage, "e10-owned", 64);
    let (b, _) = owned(arena, second, "e10-owned-too", 64);
    let folders = haybarn::sysfs::listdir(arena, "/").unwrap();
    assert_eq!(folders, ["e10-one", "e10-other", "e10-owned", "e10-owned-too"]);
    assert_eq!(haybarn::sysfs::readlink(arena, "/e10-owned/primary").unwrap(), "../e10-one");
    drop((a, b));
    end(storage);
    end(second);
    // SAFETY: nobody uses them.
    unsafe { ONE.destroy().and_then(|()| OTHER.destroy()) }.unwrap();
}

/// Who may keep a name for long, for instance to say that it is gone, need not keep what stays with it.
#[test]
fn a_name_that_keeps_nothing() {
    let (arena, storage) = (arena(), new());
    let (name, owner) = owned(arena, storage, "kept", 64);
    let light = name.keeping_nothing();
    assert!(light.owner().is_some() && light.is_living());
    drop(name);
    end(storage);
    assert!(storage.is_free() && owner.upgrade().is_none());
    assert_eq!((light.name(), light.is_living(), light.owner().is_none()), ("kept", false, true));
    // SAFETY: it is gone already, which is an error.
    assert!(matches!(unsafe { light.destroy() }, Err(Error::Destroyed { .. })));
}
