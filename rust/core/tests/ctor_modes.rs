//! Where destructors run, how much may wait, and what a cache's end and a forked child find.

mod support;

use haybarn::sync::Counter;
use haybarn::{CacheArgs, DtorMode, RawCache, SlabFlags, Stat};
use std::sync::Arc;
use support::counting::Counting;
use support::late::two_caches;
use support::*;

/// Dead slabs of a node after which frees give no more up.
const ROOM: u64 = 64;

fn cache(arena: &'static haybarn::Arena, hooks: &Arc<Counting>, dtor_mode: DtorMode, flags: SlabFlags) -> RawCache {
    create(arena, "modes", 1024, &CacheArgs { dtor_mode, flags, ..hooks.args() })
}

/// Makes many slabs and frees all of their objects.
fn churn(cache: RawCache, slabs: u64) {
    let count = slabs * u64::from(cache.info().objs_per_slab);
    let objects = take_many(cache, count as usize);
    give(cache, objects);
}

#[test]
fn inline_nothing_waits_after_an_operation() {
    for arena in every_arena() {
        let hooks = Counting::new();
        let cache = cache(arena, &hooks, DtorMode::Inline, SlabFlags::empty());
        for _ in 0..3 {
            churn(cache, 200);
            assert_eq!(cache.dead_slabs(), 0);
            assert_eq!(hooks.alive() as u64, cache.stats().total_objects);
        }
        assert!(cache.stats().get(Stat::FreeSlab) > 0);
        end(cache);
        assert_eq!(hooks.alive(), 0);
    }
}

/// The service thread, which walks over all caches when it is woken for one, leaves the dead of others to their threads.
#[test]
fn inline_runs_on_the_thread_that_freed() {
    for arena in every_arena() {
        let (hooks, first, other) = two_caches(arena);
        let me = std::thread::current().id();
        let elsewhere = Arc::new(Counter::new());
        let count = elsewhere.clone();
        hooks.on_destruct(move |_| {
            count.add(u64::from(std::thread::current().id() != me));
        });
        let objects = take_many(first, 8 * first.info().objs_per_slab as usize);
        give(first, objects);
        let done = Counter::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while done.get() == 0 {
                    haybarn::service::kick();
                    std::thread::yield_now();
                }
            });
            for _ in 0..300 {
                churn(first, 8);
                while first.shrink() > 0 {}
                assert_eq!(first.dead_slabs(), 0, "shrink has seen to them");
            }
            done.set(1);
        });
        assert_eq!(elsewhere.get(), 0, "destructors on another thread");
        hooks.quiet();
        end(first);
        end(other);
    }
}

/// Nobody comes: the backlog stops at its bound, slabs that become empty are kept, and all is shown.
#[test]
fn manual_waits_for_reap_within_its_bound() {
    for arena in every_arena() {
        let hooks = Counting::new();
        // Without sheaves each free reaches its slab.
        let cache = cache(arena, &hooks, DtorMode::Manual, SlabFlags::NOLEAKTRACE);
        let nodes = u64::from(arena.nodes());
        churn(cache, 300);
        let stats = cache.stats();
        assert_eq!(hooks.book().destructed, 0, "nobody asked");
        assert!((1..=ROOM * nodes).contains(&stats.dead_slabs), "{stats:?}");
        assert_eq!((stats.dead_slabs, cache.has_dead()), (cache.dead_slabs(), true));
        assert!(stats.slabs >= 300 - ROOM * nodes, "the others are kept");
        audit(cache, 0);
        // They serve again, and no slab is made for that.
        let made = stats.get(Stat::AllocSlab);
        let again = take_many(cache, 10);
        assert_eq!(cache.stats().get(Stat::AllocSlab), made);
        give(cache, again);
        assert_eq!(cache.reap() as u64, stats.dead_slabs);
        assert_eq!((cache.dead_slabs(), cache.reap()), (0, 0));
        assert_eq!(hooks.book().destructed as u64, stats.dead_slabs * u64::from(cache.info().objs_per_slab));
        // The end runs what is left, whatever the mode.
        churn(cache, 100);
        // SAFETY: the test is done with it.
        unsafe { cache.destroy() }.unwrap();
        let book = hooks.book();
        assert_eq!((book.alive.len(), book.constructed), (0, book.destructed));
    }
}

#[test]
fn service_runs_them_elsewhere_within_the_bound() {
    for arena in every_arena() {
        let hooks = Counting::new();
        let cache = cache(arena, &hooks, DtorMode::Service, SlabFlags::NOLEAKTRACE);
        for _ in 0..5 {
            churn(cache, 300);
            assert!(cache.dead_slabs() <= ROOM * u64::from(arena.nodes()), "{}", cache.dead_slabs());
        }
        // The service thread gets there without anybody's help. A machine under load may need its time.
        let patience = std::time::Instant::now();
        while cache.has_dead() {
            assert!(patience.elapsed().as_secs() < 60, "{} dead slabs still wait", cache.dead_slabs());
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        audit(cache, 0);
        end(cache);
        let book = hooks.book();
        assert_eq!((book.alive.len(), book.constructed), (0, book.destructed));
    }
}

/// The end is refused while objects are live, and afterwards every destructor has run, those of dead slabs first.
#[test]
fn the_end_waits_for_every_destructor() {
    for arena in every_arena() {
        for dtor_mode in [DtorMode::Inline, DtorMode::Service, DtorMode::Manual] {
            let hooks = Counting::new();
            let cache = cache(arena, &hooks, dtor_mode, SlabFlags::empty());
            let kept = take(cache);
            churn(cache, 100);
            // SAFETY: it is refused.
            let refused = unsafe { cache.destroy() };
            assert!(matches!(refused, Err(haybarn::Error::CacheBusy { live: 1, .. })), "{refused:?}");
            support::counting::check(cache, &[kept]);
            churn(cache, 100);
            give(cache, [kept]);
            // SAFETY: the test is done with it.
            unsafe { cache.destroy() }.unwrap();
            let book = hooks.book();
            assert_eq!((book.alive.len(), book.constructed), (0, book.destructed), "{dtor_mode:?}");
        }
    }
}

/// A forked child ends its copy: its destructors run there, the parent's are its own.
#[test]
fn a_forked_child_has_its_own_objects() {
    for arena in every_arena() {
        for dtor_mode in [DtorMode::Inline, DtorMode::Service, DtorMode::Manual] {
            let hooks = Counting::new();
            let cache = cache(arena, &hooks, dtor_mode, SlabFlags::empty());
            churn(cache, 100);
            // A slab that the service thread is about to destruct would be that thread's, which the child does not have.
            while dtor_mode == DtorMode::Service && cache.has_dead() {
                cache.reap();
                std::thread::yield_now();
            }
            let child = in_child(|| {
                churn(cache, 100);
                // SAFETY: the child is done with it.
                let ended = unsafe { cache.destroy() };
                let book = hooks.book();
                i32::from(ended.is_err())
                    + 2 * i32::from(!book.alive.is_empty())
                    + 4 * i32::from(book.constructed != book.destructed)
            });
            assert_eq!(child, 0, "{dtor_mode:?}");
            churn(cache, 100);
            end_all(cache);
            assert_eq!(hooks.alive(), 0);
        }
    }
}

fn end_all(cache: RawCache) {
    while cache.shrink() > 0 {}
    // SAFETY: the test is done with it.
    unsafe { cache.destroy() }.unwrap();
}

/// A type-safe cache's destructors wait for readers.
#[test]
fn destructors_of_a_type_safe_cache_wait_for_readers() {
    for arena in every_arena() {
        let hooks = Counting::new();
        let cache = cache(arena, &hooks, DtorMode::Manual, SlabFlags::TYPESAFE_BY_RCU);
        let reader = haybarn::rcu::read_lock();
        churn(cache, 50);
        while cache.shrink() > 0 {}
        cache.reap();
        assert_eq!(hooks.book().destructed, 0, "a reader may still look at them");
        assert!(cache.dead_slabs() > 0);
        drop(reader);
        haybarn::rcu::synchronize().unwrap();
        cache.reap();
        assert_eq!((hooks.alive(), cache.dead_slabs()), (0, 0));
        end_all(cache);
    }
}

/// Pages and metadata that fail at random, on this thread: no constructor is taken for one, and the books balance all along.
#[test]
fn injected_failures_leave_the_books_balanced() {
    use haybarn::fault::{FaultAttr, fail_page_alloc};
    for arena in every_arena() {
        for dtor_mode in [DtorMode::Inline, DtorMode::Manual] {
            let hooks = Counting::new();
            let cache = cache(arena, &hooks, dtor_mode, SlabFlags::empty());
            let (mut held, mut refused) = (Vec::new(), 0);
            let fault =
                fail_page_alloc(FaultAttr { probability: 0.3, this_thread: true, ..FaultAttr::default() }).unwrap();
            for round in 0..40 {
                for _ in 0..40 {
                    match cache.alloc(PLAIN) {
                        Some(object) => held.push(object),
                        None => refused += u32::from(haybarn::take_ctor_error().is_none()),
                    }
                }
                match take_bulk(cache, 60) {
                    Some(objects) => held.extend(objects),
                    None => refused += 1,
                }
                support::counting::check(cache, &held);
                give(cache, held.drain(..if round % 4 == 0 { held.len() } else { held.len() / 2 }));
                let _ = cache.shrink();
                let stats = cache.stats();
                let dead = stats.dead_slabs * u64::from(cache.info().objs_per_slab);
                assert!(
                    (stats.total_objects..=stats.total_objects + dead).contains(&(hooks.alive() as u64)),
                    "{stats:?}"
                );
            }
            assert!(fault.fired() > 0 && refused > 0);
            drop(fault);
            give(cache, held);
            end_all(cache);
            assert_eq!(hooks.alive(), 0);
        }
    }
}
