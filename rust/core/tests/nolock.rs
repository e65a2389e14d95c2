//! Allocation and free from any context: what they use, what they leave alone, and what they call.
//!
//! That they may interrupt anything is shown by `nolock_signals.rs`, and by the stress scenario of that name.

mod support;

use haybarn::fault::{FaultAttr, fail_page_alloc, fail_slab};
use haybarn::kmalloc::{KMALLOC_MAX_CACHE_SIZE, ZERO_SIZE_PTR, kfree, kfree_nolock, kmalloc, kmalloc_nolock, ksize};
use haybarn::{AllocFlags, Arena, CacheArgs, KmemCache, Owned, RawCache, SlabFlags, Stat, StaticCache};
use haybarn::{set_virtual_cpu, take_ctor_error};
use std::ptr::NonNull;
use std::sync::Mutex;
use support::counting::Counting;
use support::*;

/// Faults are the process's.
static FAULTS: Mutex<()> = Mutex::new(());

fn turn() -> std::sync::MutexGuard<'static, ()> {
    FAULTS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn give_nolock(cache: RawCache, objects: impl IntoIterator<Item = NonNull<u8>>) {
    for object in objects {
        // SAFETY: the callers own what they pass.
        unsafe { cache.free_nolock(object) };
    }
}

fn take_nolock(cache: RawCache, n: usize) -> Vec<NonNull<u8>> {
    (0..n).map_while(|_| cache.alloc_nolock(PLAIN)).collect()
}

/// Pages of which the arena has some that the system gave it.
fn touch(arena: &'static Arena) {
    let pages = arena.alloc_pages(1 << 20).unwrap();
    // SAFETY: nobody uses them.
    unsafe { arena.free_pages(pages).unwrap() };
}

fn capacities(arena: &'static Arena) -> [RawCache; 2] {
    [0, 500].map(|sheaf_capacity| {
        create(arena, &format!("nolock-{sheaf_capacity}"), 64, &CacheArgs { sheaf_capacity, ..CacheArgs::default() })
    })
}

#[test]
fn objects_go_either_way_and_add_up() {
    let _turn = turn();
    for arena in every_arena().into_iter().chain(virtual_arenas(4, 2)) {
        for cache in capacities(arena) {
            for round in 0..4 {
                set_virtual_cpu(Some(round));
                touch(arena);
                let (mut ordinary, nolock) = (take_many(cache, 700), take_nolock(cache, 700));
                assert_eq!(nolock.len(), 700, "{}", arena.backend());
                let mut all: Vec<_> = ordinary.iter().chain(&nolock).collect();
                all.sort();
                all.dedup();
                assert_eq!(all.len(), 1400, "an object was handed out twice on {}", arena.backend());
                audit(cache, 1400);
                give_nolock(cache, ordinary.drain(..));
                give(cache, nolock);
                audit_drained(cache, 0);
            }
            set_virtual_cpu(None);
            end(cache);
        }
    }
}

#[test]
fn no_page_comes_from_the_system() {
    let _turn = turn();
    for arena in every_arena() {
        let cache = create(arena, "system", 256, &CacheArgs::default());
        // The pool of descriptors grows by ordinary allocations only; pages are there once somebody had them.
        let first = take(cache);
        give(cache, [first]);
        let _none = cache.shrink();
        assert_eq!(arena.info().dirty_free, 0);
        let before = arena.info();
        assert_eq!(cache.alloc_nolock(PLAIN), None, "on {}", arena.backend());
        assert_eq!(cache.alloc_node_nolock(PLAIN, 0), None, "on {}", arena.backend());
        assert_eq!((arena.info().used, arena.info().metadata), (before.used, before.metadata));
        touch(arena);
        let touched = arena.info();
        assert_eq!(touched.dirty_free, 1 << 20);
        let objects = take_nolock(cache, 1 << 20);
        assert_eq!(objects.len() * 256, 1 << 20, "all of what was there, and no more, on {}", arena.backend());
        let after = arena.info();
        assert_eq!((after.dirty_free, after.used - touched.used), (0, 1 << 20));
        assert_eq!(after.metadata, touched.metadata);
        give_nolock(cache, objects);
        end(cache);
    }
}

#[test]
fn no_slab_dies_until_somebody_else_has_it_die() {
    let _turn = turn();
    for arena in every_arena() {
        for cache in capacities(arena) {
            let objects = take_many(cache, 20_000);
            let slabs = cache.stats().slabs;
            let used = arena.info().used;
            give_nolock(cache, objects);
            assert_eq!((cache.stats().slabs, arena.info().used), (slabs, used), "on {}", arena.backend());
            assert_eq!(cache.stats().get(Stat::FreeSlab), 0);
            audit_drained(cache, 0);
            assert!(cache.shrink() > 0);
            assert_eq!(cache.stats().slabs, 0, "on {}", arena.backend());
            end(cache);
        }
    }
}

#[test]
fn a_type_safe_cache_has_no_dead_by_it() {
    let _turn = turn();
    for arena in every_arena() {
        let args = CacheArgs { flags: SlabFlags::TYPESAFE_BY_RCU, ..CacheArgs::default() };
        let cache = create(arena, "typesafe", 200, &args);
        let objects = take_many(cache, 5000);
        give_nolock(cache, objects);
        assert_eq!((cache.dead_slabs(), cache.stats().get(Stat::FreeSlab)), (0, 0), "on {}", arena.backend());
        end(cache);
    }
}

#[test]
fn no_hook_is_called() {
    let _turn = turn();
    for arena in every_arena() {
        touch(arena);
        let counting = Counting::new();
        let cache = create(arena, "hooked", 128, &counting.args());
        assert_eq!(cache.alloc_nolock(PLAIN), None, "there is no constructed object yet");
        assert!(take_ctor_error().is_none());
        assert_eq!(counting.alive(), 0);
        // Another CPU could not take what lies in this one's sheaf.
        let _pinned = Pinned::to(0);
        let mut objects = take_many(cache, 1000);
        let constructed = counting.alive();
        let in_slabs = constructed - objects.len();
        // Zeroes would wipe what the constructor made, and what is refused goes back.
        assert_eq!(cache.alloc_nolock(AllocFlags::ZERO), None);
        objects.extend(take_nolock(cache, usize::MAX >> 1));
        assert_eq!(objects.len(), constructed, "all {in_slabs} free ones were to be had on {}", arena.backend());
        give_nolock(cache, objects);
        assert_eq!(counting.alive(), constructed, "nothing was destructed");
        end(cache);
        assert_eq!(counting.alive(), 0);
    }
}

#[test]
fn faults_of_memory_fail_it_and_faults_of_objects_do_not() {
    let _turn = turn();
    for arena in every_arena() {
        touch(arena);
        let cache = create(arena, "faulty", 64, &CacheArgs { sheaf_capacity: 4, ..CacheArgs::default() });
        let kept = take_many(cache, 50);
        let here = FaultAttr { this_thread: true, ..FaultAttr::default() };
        let fault = fail_slab(Some(cache), here).unwrap();
        assert_eq!(cache.alloc(PLAIN), None);
        let object = cache.alloc_nolock(PLAIN);
        assert!(object.is_some(), "as in Linux, on {}", arena.backend());
        give_nolock(cache, object);
        drop(fault);
        let fault = fail_page_alloc(here).unwrap();
        let rest = take_nolock(cache, 1 << 20);
        assert!(rest.len() < 1000, "no new slab: on {}", arena.backend());
        drop(fault);
        assert!(cache.alloc_nolock(PLAIN).map(|object| give_nolock(cache, [object])).is_some());
        give_nolock(cache, kept.into_iter().chain(rest));
        end(cache);
    }
}

#[test]
fn options_are_kept() {
    let _turn = turn();
    for arena in virtual_arenas(4, 2) {
        touch(arena);
        let cache = create(arena, "options", 96, &CacheArgs::default());
        set_virtual_cpu(Some(0));
        let object = take(cache);
        // SAFETY: ours, 96 bytes.
        unsafe { object.write_bytes(0xaa, 96) };
        give(cache, [object]);
        let zeroed = cache.alloc_nolock(AllocFlags::ZERO | AllocFlags::ACCOUNT).unwrap();
        assert_eq!(zeroed, object, "the newest first");
        // SAFETY: ours.
        assert!(unsafe { std::slice::from_raw_parts(zeroed.as_ptr(), 96) }.iter().all(|&byte| byte == 0));
        assert_eq!(cache.stats().get(Stat::Accounted), 1);
        give_nolock(cache, [zeroed]);
        assert!(cache.alloc_node_nolock(AllocFlags::THISNODE, 1).is_none(), "node 1 has no pages from before");
        give(cache, [cache.alloc_node(AllocFlags::THISNODE, 1).unwrap()]);
        let other = cache.alloc_node_nolock(AllocFlags::THISNODE, 1).unwrap();
        assert_eq!((cache.node_of(other.as_ptr()), cache.stats().get(Stat::AllocNodeMismatch)), (Ok(1), 3));
        // It is of node 1's memory: from node 0 it goes to its slab.
        let before = cache.stats().get(Stat::FreeSlowpath);
        give_nolock(cache, [other]);
        assert_eq!(cache.stats().get(Stat::FreeSlowpath), before + 1);
        end(cache);
    }
}

#[test]
fn kmalloc_nolock_takes_what_classes_have() {
    let _turn = turn();
    for arena in every_arena() {
        assert_eq!(kmalloc_nolock(arena, 0, PLAIN), Some(ZERO_SIZE_PTR));
        assert_eq!(kmalloc_nolock(arena, 100, PLAIN), None, "nobody has made the class");
        assert_eq!(kmalloc_nolock(arena, KMALLOC_MAX_CACHE_SIZE + 1, PLAIN), None);
        let grown = kmalloc(arena, 128, PLAIN).unwrap();
        let object = kmalloc_nolock(arena, 100, AllocFlags::ZERO).expect("the class is there");
        let next = kmalloc_nolock(arena, 80, PLAIN).expect("the class above it is there");
        assert_eq!(kmalloc_nolock(arena, 60, PLAIN), None, "one class further only");
        let large = kmalloc(arena, 100_000, PLAIN).unwrap();
        let used = arena.info().used;
        // SAFETY: all of them are ours, once.
        unsafe {
            assert_eq!((ksize(arena, object.as_ptr()), ksize(arena, next.as_ptr())), (128, 128));
            assert!(std::slice::from_raw_parts(object.as_ptr(), 128).iter().all(|&byte| byte == 0));
            kfree_nolock(arena, object.as_ptr());
            kfree(arena, next.as_ptr());
            kfree_nolock(arena, grown.as_ptr());
            kfree_nolock(arena, large.as_ptr());
            kfree_nolock(arena, std::ptr::null_mut());
            kfree_nolock(arena, ZERO_SIZE_PTR.as_ptr());
        }
        assert!(arena.info().used <= used - 100_000, "large pages are free again");
    }
}

#[test]
fn typed_caches_give_boxes_back_the_same_way() {
    static CACHE: StaticCache<[u64; 5]> = StaticCache::new("nolock-static");
    let _turn = turn();
    let dropped = &*Box::leak(Box::new(Mutex::new(0)));
    struct Loud(&'static Mutex<u32>);
    impl Drop for Loud {
        fn drop(&mut self) {
            *self.0.lock().unwrap() += 1;
        }
    }
    touch(Arena::global().unwrap());
    let cache = KmemCache::<Loud>::create("nolock-typed", &CacheArgs::default()).unwrap();
    drop(cache.alloc(Loud(dropped)).unwrap());
    let Ok(boxed) = cache.alloc_nolock(Loud(dropped)) else { panic!("an object is in the sheaf") };
    assert_eq!(*dropped.lock().unwrap(), 1);
    Owned::free_nolock(boxed);
    assert_eq!(*dropped.lock().unwrap(), 2);
    assert_eq!(cache.stats().objects, 0);
    assert!(cache.destroy().is_ok());

    assert!(!CACHE.is_set_up() && CACHE.alloc_raw_nolock().is_none());
    CACHE.setup(&CacheArgs::default()).unwrap();
    Owned::free_nolock(CACHE.alloc([7; 5]).unwrap());
    let object = CACHE.alloc_raw_nolock().unwrap();
    // SAFETY: ours.
    unsafe { CACHE.free_raw_nolock(object) };
    assert_eq!(CACHE.raw().unwrap().stats().objects, 0);
}
