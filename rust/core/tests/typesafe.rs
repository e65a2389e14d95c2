//! Caches that are TYPESAFE_BY_RCU: what a reader may rely on, when pages go, who waits for whom.

mod support;

use haybarn::sync::Published;
use haybarn::{
    Arena, ArenaConfig, BackendKind, CacheArgs, CtorError, DtorMode, Error, Form, Hooks, RawCache, SlabFlags, Stat,
    rcu, service,
};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::*;

/// A reader that stays holds up every cache of the process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn args() -> CacheArgs {
    CacheArgs { flags: SlabFlags::TYPESAFE_BY_RCU, count_hits: true, ..CacheArgs::default() }
}

fn one_arena() -> &'static Arena {
    arena(config(BackendKind::Locked, Form::Packed)).expect("the locked backend is everywhere")
}

/// Another thread's read section, for as long as this lives.
struct Reader {
    leave: std::sync::mpsc::Sender<()>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Reader {
    fn enter() -> Self {
        let (leave, left) = std::sync::mpsc::channel();
        let (inside, is_inside) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let _reading = rcu::read_lock();
            inside.send(()).expect("somebody asks");
            let _gone = left.recv();
        });
        is_inside.recv().expect("the reader is inside");
        Self { leave, thread: Some(thread) }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _left = self.leave.send(());
        self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// Waits for what other threads will bring about.
fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

fn read_word(object: NonNull<u8>) -> u64 {
    // SAFETY: by the cache's promise the memory is an object's, with readers inside.
    unsafe { object.cast::<u64>().read_volatile() }
}

#[test]
fn the_flag_puts_the_free_pointer_behind_the_object_or_where_it_is_told() {
    let arena = one_arena();
    let cache = create(arena, "behind", 64, &args());
    assert_eq!((cache.info().freeptr_offset, cache.info().slab_size), (64, 72));
    assert!(cache.info().flags.contains(SlabFlags::TYPESAFE_BY_RCU));
    end(cache);
    let cache = create(arena, "inside", 64, &CacheArgs { freeptr_offset: Some(40), ..args() });
    assert_eq!((cache.info().freeptr_offset, cache.info().slab_size), (40, 64));
    end(cache);
}

#[test]
fn freeptr_offset_is_checked() {
    let refused = |args: &CacheArgs| match RawCache::create(one_arena(), "refused", 64, args) {
        Err(Error::BadArgument { cache, argument, legal, .. }) => {
            assert_eq!(cache, "refused");
            (argument, legal)
        }
        other => panic!("{other:?}"),
    };
    let plain = refused(&CacheArgs { freeptr_offset: Some(8), ..CacheArgs::default() });
    assert_eq!(plain.0, "freeptr_offset");
    assert!(plain.1.contains("TYPESAFE_BY_RCU"), "{}", plain.1);
    for offset in [64, 4, 1000] {
        let (argument, legal) = refused(&CacheArgs { freeptr_offset: Some(offset), ..args() });
        assert_eq!(argument, "freeptr_offset");
        assert!(legal.contains("multiple of 8 below the object size of 64"), "{legal}");
    }
}

#[test]
fn an_object_is_used_anew_inside_a_read_section() {
    let _alone = alone();
    for arena in every_arena() {
        let cache = create(arena, "reuse", 64, &args());
        let _reading = rcu::read_lock();
        let first = take(cache);
        give(cache, [first]);
        let second = take(cache);
        assert_eq!(first, second, "reuse does not wait for readers, only pages do");
        give(cache, [second]);
        drop(_reading);
        end(cache);
    }
}

#[test]
fn pages_stay_while_a_reader_is_there_and_go_when_it_has_left() {
    let _alone = alone();
    for arena in every_arena() {
        let cache = create(arena, "pages", 256, &args());
        let objects = take_many(cache, 2000);
        for &object in &objects {
            // SAFETY: the test's own.
            unsafe { object.cast::<u64>().write(0x7e57) };
        }
        let used = arena.info().used;
        let reader = Reader::enter();
        give(cache, objects.iter().copied());
        let _died = cache.shrink();
        assert!(cache.stats().slabs < 10, "all but what the sheaves hold has died: {:?}", cache.stats());
        assert_eq!(arena.info().used, used, "no page went");
        assert!(objects.iter().all(|&object| read_word(object) == 0x7e57), "the memory is what it was");
        assert!(cache.dead_slabs() > 50, "{}", cache.dead_slabs());
        assert_eq!(cache.reap(), 0, "the reader is still there");
        audit(cache, 0);
        drop(reader);
        rcu::synchronize().unwrap();
        cache.reap();
        // The service thread may be at the last one.
        until("the dead are gone", || cache.dead_slabs() == 0);
        assert!(arena.info().used < used / 4, "{} of {used} bytes still used", arena.info().used);
        audit_drained(cache, 0);
        end(cache);
    }
}

#[test]
fn a_dead_slab_is_no_slab_to_look_ups() {
    let _alone = alone();
    for arena in every_arena() {
        let cache = create(arena, "look-ups", 256, &args());
        let objects = take_many(cache, 400);
        let (kept, gone) = objects.split_at(1);
        let reader = Reader::enter();
        give(cache, gone.iter().copied());
        let _died = cache.shrink();
        let stats = cache.stats();
        assert_eq!((stats.slabs, stats.objects), (1, 1), "{stats:?}");
        assert!(stats.dead_slabs > 0 && stats.total_objects == u64::from(cache.info().objs_per_slab), "{stats:?}");
        assert!(cache.check(kept[0].as_ptr()).is_ok());
        let last = gone[gone.len() - 1].as_ptr();
        match cache.check(last) {
            Err(Error::BadPointer { why, .. }) => assert!(why.contains("has just gone"), "{why}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(cache.validate(), Ok(()));
        // SAFETY: nobody else uses it; it is refused.
        match unsafe { cache.destroy() } {
            Err(Error::CacheBusy { live, sample, .. }) => {
                assert_eq!((live, sample.len(), sample[0].address), (1, 1, kept[0].as_ptr().addr()));
            }
            other => panic!("a busy cache is busy before anybody waits for the reader: {other:?}"),
        }
        drop(reader);
        give(cache, kept.iter().copied());
        // SAFETY: the test is done with it.
        unsafe { cache.destroy() }.unwrap();
    }
}

#[test]
fn the_backlog_is_bounded_and_what_stays_alive_serves_on() {
    let _alone = alone();
    for arena in every_arena() {
        let cache = create(arena, "bound", 1024, &args());
        let reader = Reader::enter();
        let objects = take_many(cache, 8000);
        let peak = cache.stats().slabs;
        assert!(peak > 300, "{peak}");
        give(cache, objects);
        let stats = cache.stats();
        assert!(stats.dead_slabs <= 64, "{stats:?}");
        assert_eq!(stats.dead_slabs + stats.slabs, peak, "no slab is lost");
        for _ in 0..20 {
            let objects = take_many(cache, 8000);
            give(cache, objects);
        }
        let stats = cache.stats();
        assert!(stats.slabs <= peak + peak / 4, "memory does not grow with time: {stats:?}");
        assert!(stats.dead_slabs <= 64, "{stats:?}");
        audit(cache, 0);
        drop(reader);
        // SAFETY: the test is done with it.
        unsafe { cache.destroy() }.unwrap();
    }
}

#[test]
fn the_service_thread_ends_the_dead_when_nobody_else_does() {
    let _alone = alone();
    for arena in every_arena() {
        let cache = create(arena, "service", 512, &args());
        let objects = take_many(cache, 2000);
        let reader = Reader::enter();
        give(cache, objects);
        assert!(cache.dead_slabs() > 0);
        drop(reader);
        until("the service thread ends the dead", || cache.dead_slabs() == 0);
        assert!(service::is_running());
        end(cache);
    }
}

#[test]
fn an_end_waits_for_readers_and_is_refused_to_one() {
    let _alone = alone();
    for arena in every_arena() {
        let cache = create(arena, "end", 512, &args());
        give(cache, take_many(cache, 300));
        {
            let _reading = rcu::read_lock();
            // SAFETY: nobody else uses it; it is refused.
            let refused = unsafe { cache.destroy() };
            assert!(matches!(refused, Err(Error::InReadSection { .. })), "{refused:?}");
            give(cache, take_many(cache, 300));
        }
        let reader = Reader::enter();
        let left = Published::new(0);
        std::thread::scope(|threads| {
            let left = &left;
            threads.spawn(move || {
                // SAFETY: nobody else uses it.
                unsafe { cache.destroy() }.unwrap();
                assert_eq!(left.read(), 1, "the end came before the reader had left");
            });
            // Gives a wrong end its chance; a right one waits whatever happens here.
            (0..50).for_each(|_| std::thread::yield_now());
            left.publish(1);
            drop(reader);
        });
    }
}

#[test]
fn caches_come_and_go_under_the_service_threads_eyes() {
    let _alone = alone();
    let arena = one_arena();
    std::thread::scope(|threads| {
        for thread in 0..4 {
            threads.spawn(move || {
                for n in 0..100 {
                    let cache = create(arena, &format!("come-{thread}-{n}"), 512, &args());
                    let objects = take_many(cache, 100);
                    let reading = (n % 3 == 0).then(rcu::read_lock);
                    give(cache, objects);
                    drop(reading);
                    let _died = cache.shrink();
                    // SAFETY: this thread's own.
                    unsafe { cache.destroy() }.unwrap();
                }
            });
        }
    });
    assert_eq!(arena.info().used, 0, "a page was lost");
}

#[test]
fn a_failed_page_is_no_death() {
    let _alone = alone();
    for (arena, switch) in every_failing_arena() {
        let cache = create(arena, "scarce", 512, &args());
        let held = take_many(cache, 100);
        exhaust(cache, &switch, held.len());
        give(cache, held);
        audit(cache, 0);
        end(cache);
    }
}

/// The child has no other threads: their read sections, and the service thread's work, are gone with them.
#[test]
fn a_forked_child_ends_what_died_before_it() {
    let _alone = alone();
    for arena in every_arena() {
        let cache = create(arena, "fork", 512, &args());
        give(cache, take_many(cache, 1000));
        let reader = Reader::enter();
        give(cache, take_many(cache, 1000));
        assert!(cache.dead_slabs() > 0);
        let code = in_child(|| {
            let Some(object) = cache.alloc(PLAIN) else { return 2 };
            // SAFETY: the child's own.
            unsafe { cache.free(object) };
            // SAFETY: nobody else is there.
            if unsafe { cache.destroy() }.is_err() { 3 } else { 0 }
        });
        assert_eq!(code, 0);
        assert!(cache.dead_slabs() > 0, "the parent's reader is still there");
        drop(reader);
        // SAFETY: the test is done with it.
        unsafe { cache.destroy() }.unwrap();
    }
}

/// Destructors of which the first waits until it is let go.
struct Slow {
    entered: Published,
    let_go: Published,
}

impl Hooks for Slow {
    fn construct(&self, _object: NonNull<u8>) -> Result<(), CtorError> {
        Ok(())
    }

    fn destruct(&self, _object: NonNull<u8>) {
        if self.entered.take(1) == 0 {
            until("the destructor is let go", || self.let_go.read() == 1);
        }
    }
}

/// A fork while another thread is inside a destructor: that slab is in nobody's hands in the child, and in no list. Its pages
/// are found all the same.
#[test]
fn a_forked_child_finds_the_slab_that_another_thread_was_reaping() {
    let _alone = alone();
    for (n, mode) in [DtorMode::Inline, DtorMode::Service, DtorMode::Inline].into_iter().enumerate() {
        let arena = one_arena();
        let hooks = Arc::new(Slow { entered: Published::new(0), let_go: Published::new(0) });
        // The last one is type-safe as well: then the service thread has the slab.
        let flags = if n == 2 { SlabFlags::TYPESAFE_BY_RCU } else { SlabFlags::empty() };
        let held: Arc<dyn Hooks> = hooks.clone();
        let cache = create(arena, "lost", 512, &CacheArgs { flags, hooks: Some(held), dtor_mode: mode, ..args() });
        give(cache, take_many(cache, 40));
        std::thread::scope(|threads| {
            threads.spawn(move || {
                let _died = cache.shrink();
            });
            until("somebody is inside a destructor", || hooks.entered.read() > 0);
            let code = in_child(|| {
                // SAFETY: nobody else is there.
                match unsafe { cache.destroy() } {
                    Ok(()) if arena.info().used == 0 => 0,
                    Ok(()) => 2,
                    Err(_) => 3,
                }
            });
            // Before the assertion, which would wait for the thread.
            hooks.let_go.publish(1);
            assert_eq!(code, 0, "{mode:?}, {flags:?}");
        });
        // SAFETY: the test is done with it.
        unsafe { cache.destroy() }.unwrap();
        assert_eq!(arena.info().used, 0);
    }
}

#[test]
fn the_counters_of_a_life() {
    let _alone = alone();
    let arena = arena(ArenaConfig { cpus: Some(1), ..config(BackendKind::Virtual, Form::Packed) }).expect("virtual");
    let cache = create(arena, "life", 512, &args());
    let objects = take_many(cache, 512);
    let made = cache.stats().get(Stat::AllocSlab);
    let reader = Reader::enter();
    give(cache, objects);
    let killed = cache.stats().get(Stat::FreeSlab);
    assert!(killed > 0);
    let shrunk = cache.shrink();
    let stats = cache.stats();
    assert_eq!(stats.get(Stat::FreeSlab) + stats.get(Stat::ShrinkSlab), made);
    assert!(shrunk > 0 && stats.get(Stat::ReapSlab) == 0 && stats.dead_slabs == made, "{stats:?}");
    drop(reader);
    rcu::synchronize().unwrap();
    cache.reap();
    until("the dead are gone", || cache.dead_slabs() == 0);
    assert_eq!(cache.stats().get(Stat::ReapSlab), made);
    end(cache);
}
