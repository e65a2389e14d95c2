//! Static caches: usable before any call, set up once by whoever comes first, ended, and set up again.

mod support;

use haybarn::sync::Counter;
use haybarn::{
    Arena, ArenaConfig, BackendKind, CacheArgs, Error, Form, RawCache, SlabFlags, StaticArgs, StaticBox, StaticCache,
    failing_source,
};
use std::sync::Barrier;
use support::{audit, config};

fn living(name: &str) -> usize {
    Arena::global().unwrap().cache_names().iter().filter(|living| *living == name).count()
}

static EARLY: StaticCache<[u64; 12]> = StaticCache::new("static-early");

#[test]
fn a_static_cache_works_before_any_call() {
    assert!(!EARLY.is_set_up() && EARLY.raw().is_none() && EARLY.cache_name().is_none());
    let first = EARLY.alloc([7; 12]).unwrap();
    assert!(EARLY.is_set_up());
    assert_eq!((living("static-early"), EARLY.cache_name().unwrap().name()), (1, "static-early"));
    let again = EARLY.setup(&CacheArgs::default());
    assert!(matches!(&again, Err(Error::AlreadySetUp { cache }) if cache == "static-early"), "{again:?}");
    assert_eq!(again.unwrap_err().to_string(), "cache 'static-early' is set up already");
    assert_eq!(*first, [7; 12]);
    drop(first);
    audit(EARLY.raw().unwrap(), 0);
    // SAFETY: nobody uses it.
    unsafe { EARLY.destroy() }.unwrap();
    assert!(!EARLY.is_set_up());
}

static RAW: StaticCache<u64> = StaticCache::new("static-raw");
static ASIDE: StaticCache<u64> = StaticCache::new("static-aside");
static IDLE: StaticCache<u64> = StaticCache::new("static-idle");

#[test]
fn every_way_to_an_object_is_a_first_use_and_nothing_else_is() {
    let object = RAW.alloc_raw().unwrap();
    // SAFETY: ours.
    unsafe { RAW.free_raw(object) };
    assert!(RAW.is_set_up());
    assert!(ASIDE.prefill(3).unwrap().len() >= 3);
    // SAFETY: nobody uses it, here and below.
    let ended = unsafe { IDLE.destroy() };
    assert!(matches!(&ended, Err(Error::NotSetUp { cache }) if cache == "static-idle"), "{ended:?}");
    assert!(matches!(IDLE.rcu_barrier(), Err(Error::NotSetUp { .. })));
    assert!(!IDLE.is_set_up() && living("static-idle") == 0);
    for cache in [&RAW, &ASIDE] {
        // SAFETY: as above.
        unsafe { cache.destroy() }.unwrap();
    }
}

static LINES: StaticCache<[u8; 40]> =
    StaticCache::with_args("static-lines", StaticArgs { flags: SlabFlags::HWCACHE_ALIGN, ..StaticArgs::NONE });

#[test]
fn a_first_use_takes_the_static_s_arguments_and_a_setup_its_own() {
    drop(LINES.alloc([0; 40]).unwrap());
    let info = LINES.raw().unwrap().info();
    assert!(info.flags.contains(SlabFlags::HWCACHE_ALIGN) && info.align == 64, "{info:?}");
    // SAFETY: nobody uses it, here and below.
    unsafe { LINES.destroy() }.unwrap();
    LINES.setup(&CacheArgs { align: 16, ..CacheArgs::default() }).unwrap();
    let info = LINES.raw().unwrap().info();
    assert!(!info.flags.contains(SlabFlags::HWCACHE_ALIGN) && info.align == 16, "{info:?}");
    // SAFETY: as above.
    unsafe { LINES.destroy() }.unwrap();
}

static FRAMES: StaticCache<[u64; 20]> =
    StaticCache::with_args("static-frames", StaticArgs { sheaf_capacity: 5000, ..StaticArgs::NONE });

/// The kernel's E8: a setup that fails says so, be it a call or a first use, and leaves the storage as it was.
#[test]
fn e8_a_setup_that_fails_says_so_and_may_be_tried_again() {
    for round in 0..3 {
        let refused = FRAMES.alloc([0; 20]).map(drop);
        assert!(matches!(refused, Err(Error::BadArgument { argument: "sheaf_capacity", .. })), "{refused:?}");
        let bad = CacheArgs { align: 3, ..CacheArgs::default() };
        assert!(matches!(FRAMES.setup(&bad), Err(Error::BadArgument { argument: "align", .. })), "round {round}");
        assert!(!FRAMES.is_set_up() && FRAMES.alloc_raw().is_none() && living("static-frames") == 0);
        FRAMES.setup(&CacheArgs::default()).unwrap();
        assert!(matches!(FRAMES.setup(&CacheArgs::default()), Err(Error::AlreadySetUp { .. })));
        let mut frame = FRAMES.alloc([round; 20]).unwrap();
        frame[0] = 1;
        // SAFETY: nobody else uses it.
        let Err(Error::CacheBusy { live: 1, .. }) = (unsafe { FRAMES.destroy() }) else { panic!("not refused") };
        assert!(FRAMES.is_set_up());
        assert_eq!(StaticBox::into_inner(frame)[1], round);
        audit(FRAMES.raw().unwrap(), 0);
        // SAFETY: nobody uses it.
        unsafe { FRAMES.destroy() }.unwrap();
    }
}

static STARVED: StaticCache<u64> = StaticCache::new("static-starved");

/// E8 again, for want of memory: no page for the cache's own block, then one.
#[test]
fn e8_a_setup_without_memory_fails_and_then_works() {
    let (source, switch) = failing_source();
    let arena = Arena::create(ArenaConfig { source, ..config(BackendKind::Locked, Form::Packed) }).unwrap();
    switch.fail_now();
    let refused = STARVED.setup_in(arena, &CacheArgs::default());
    assert!(matches!(&refused, Err(Error::OutOfMemory { cache, .. }) if cache == "static-starved"), "{refused:?}");
    assert!(!STARVED.is_set_up() && arena.cache_names().is_empty());
    switch.heal();
    STARVED.setup_in(arena, &CacheArgs::default()).unwrap();
    assert_eq!(arena.cache_names(), ["static-starved"]);
    assert_eq!(*STARVED.alloc(3).unwrap(), 3);
    // SAFETY: nobody uses it.
    unsafe { STARVED.destroy() }.unwrap();
}

static NOTHING: StaticCache<()> = StaticCache::new("static-nothing");

#[test]
fn a_static_cache_of_nothing_is_refused() {
    for refused in [NOTHING.setup(&CacheArgs::default()), NOTHING.alloc(()).map(drop)] {
        assert!(matches!(refused, Err(Error::BadArgument { argument: "object_size", .. })), "{refused:?}");
    }
}

static ONE: StaticCache<u64> = StaticCache::new("static-same-name");
static OTHER: StaticCache<u64> = StaticCache::new("static-same-name");

/// The kernel's E10: two caches of one name do not meet.
#[test]
fn e10_two_static_caches_of_one_name() {
    ONE.setup(&CacheArgs::default()).unwrap();
    for refused in [OTHER.setup(&CacheArgs::default()), OTHER.alloc(1).map(drop)] {
        assert!(matches!(refused, Err(Error::BadArgument { argument: "name", .. })), "{refused:?}");
    }
    assert!(!OTHER.is_set_up() && OTHER.alloc_raw().is_none());
    // SAFETY: nobody uses it.
    unsafe { ONE.destroy() }.unwrap();
    assert_eq!(*OTHER.alloc(5).unwrap(), 5);
    // SAFETY: nobody uses it.
    unsafe { OTHER.destroy() }.unwrap();
}

static SHARED: StaticCache<(u64, [u8; 56])> = StaticCache::new("static-shared");

/// First uses of six threads meet two setups: one of all makes the cache, and everyone works with that one.
#[test]
fn first_uses_meet_setups() {
    let set_up = Counter::new();
    // Who comes first is up to the system: on a busy machine it may take many rounds until a setup does.
    for round in 0..2000 {
        if round >= 60 && set_up.get() > 0 {
            return;
        }
        let ready = Barrier::new(8);
        let before = set_up.get();
        let seen: Vec<RawCache> = std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    ready.wait();
                    match SHARED.setup(&CacheArgs::default()) {
                        Ok(()) => set_up.add(1),
                        Err(Error::AlreadySetUp { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                });
            }
            let users: Vec<_> = (0..6_u64)
                .map(|thread| {
                    let ready = &ready;
                    scope.spawn(move || {
                        ready.wait();
                        let mut held: Vec<_> = Vec::new();
                        for n in 0..200 {
                            held.push(SHARED.alloc((thread, [n as u8; 56])).unwrap());
                            if n % 3 == 0 {
                                let value = held.swap_remove((n * 7919) as usize % held.len());
                                assert_eq!(value.0, thread);
                            }
                        }
                        SHARED.raw().unwrap()
                    })
                })
                .collect();
            users.into_iter().map(|user| user.join().unwrap()).collect()
        });
        assert!(seen.iter().all(|&cache| Some(cache) == SHARED.raw()), "threads worked with different caches");
        assert!(set_up.get() <= before + 1 && living("static-shared") == 1);
        audit(SHARED.raw().unwrap(), 0);
        // SAFETY: the threads are gone.
        unsafe { SHARED.destroy() }.unwrap();
    }
    panic!("no setup ever came first: nothing was tried");
}
