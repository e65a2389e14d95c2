//! The promise of design.md, section 4: no thread that is interrupted or stopped at any instruction keeps another thread's
//! alloc or free from finishing; and both work in a signal handler, whatever the handler interrupts (I12).

mod support;

use haybarn::sync::Counter;
use haybarn::{Arena, CacheArgs, RawCache, set_virtual_cpu};
use std::cell::Cell;
use std::ptr::null_mut;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use support::signals::*;
use support::*;

thread_local! {
    /// The cache that this thread's handler uses.
    static CACHE: Cell<Option<RawCache>> = const { Cell::new(None) };
}

/// One test at a time has the signals.
static SIGNALS: Mutex<()> = Mutex::new(());
static HANDLED: Counter = Counter::new();
static FAULTS: Counter = Counter::new();
static STOPPED: Counter = Counter::new();
static GO_ON: Counter = Counter::new();

/// Allocates and frees inside whatever was interrupted. A handler must not panic: faults are counted.
extern "C" fn allocates(_: libc::c_int) {
    let Some(cache) = CACHE.get() else { return };
    let mut objects = [None; 10];
    for (n, place) in objects.iter_mut().enumerate() {
        *place = cache.alloc(PLAIN);
        match *place {
            Some(object) => stamp(object, !(n as u64)),
            None => FAULTS.add(1),
        }
    }
    let mut batch = [null_mut(); 20];
    if cache.alloc_bulk(PLAIN, &mut batch) {
        // SAFETY: ours.
        unsafe { cache.free_bulk(&mut batch) };
    } else {
        FAULTS.add(1);
    }
    for (n, object) in objects.into_iter().enumerate().rev() {
        let Some(object) = object else { continue };
        FAULTS.add(u64::from(stamp_of(object) != !(n as u64)));
        // SAFETY: ours.
        unsafe { cache.free(object) };
    }
    HANDLED.add(1);
}

/// Keeps the thread where it is until it is let go.
extern "C" fn stops(_: libc::c_int) {
    let goal = GO_ON.get() + 1;
    STOPPED.add(1);
    while GO_ON.get() < goal {
        // SAFETY: allowed in a handler.
        unsafe { libc::usleep(50) };
    }
}

/// Allocates and frees until `stop`; every object keeps its stamp.
fn hammer(cache: RawCache, stop: &Counter, id: &Counter) {
    CACHE.set(Some(cache));
    set_virtual_cpu(Some(0));
    introduce(id);
    let mut held = Vec::with_capacity(300);
    let mut n = 0;
    while stop.get() == 0 {
        for _ in 0..250 {
            n += 1;
            let object = take(cache);
            stamp(object, n);
            held.push((object, n));
        }
        for (object, stamped) in held.drain(..) {
            assert_eq!(stamp_of(object), stamped, "the handler got an object that is in use");
            give(cache, [object]);
        }
        give_bulk(cache, &take_bulk(cache, 90).unwrap());
    }
    CACHE.set(None);
}

fn capacities(arena: &'static Arena) -> [RawCache; 2] {
    [0, 500].map(|sheaf_capacity| {
        create(arena, &format!("signalled-{sheaf_capacity}"), 64, &CacheArgs { sheaf_capacity, ..CacheArgs::default() })
    })
}

#[test]
fn handlers_allocate_and_free_inside_alloc_and_free() {
    let _one_at_a_time = SIGNALS.lock();
    handle(libc::SIGUSR1, allocates);
    for arena in every_arena() {
        for cache in capacities(arena) {
            let (stop, id, before) = (Counter::new(), Counter::new(), HANDLED.get());
            std::thread::scope(|scope| {
                scope.spawn(|| hammer(cache, &stop, &id));
                // On a busy machine a few in a second are enough, however long the first ones take.
                let (begun, second) = (Instant::now(), Duration::from_secs(1));
                let enough = || HANDLED.get() > before + if begun.elapsed() < second { 300 } else { 20 };
                while !enough() && begun.elapsed() < 60 * second {
                    send(&id, libc::SIGUSR1);
                    std::thread::yield_now();
                }
                stop.add(1);
            });
            assert!(HANDLED.get() > before + 20, "{} signals were handled", HANDLED.get() - before);
            assert_eq!(FAULTS.get(), 0, "{}", arena.backend());
            end(cache);
        }
    }
}

#[test]
fn a_stopped_thread_keeps_nobody_waiting() {
    let _one_at_a_time = SIGNALS.lock();
    handle(libc::SIGUSR2, stops);
    for arena in every_arena() {
        for cache in capacities(arena) {
            let (stop, id) = (Counter::new(), Counter::new());
            std::thread::scope(|scope| {
                scope.spawn(|| hammer(cache, &stop, &id));
                set_virtual_cpu(Some(0));
                for _ in 0..40 {
                    let stopped = STOPPED.get();
                    send(&id, libc::SIGUSR2);
                    while STOPPED.get() == stopped {
                        std::thread::yield_now();
                    }
                    // Whatever the other was doing, all of this finishes. The test's time limit is the runner's.
                    let objects = take_many(cache, 300);
                    give(cache, objects);
                    give_bulk(cache, &take_bulk(cache, 300).unwrap());
                    GO_ON.add(1);
                }
                stop.add(1);
            });
            end(cache);
        }
    }
}
