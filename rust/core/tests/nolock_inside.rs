//! A handler that allocates and frees in the middle of the calls that are not for handlers: prefilled sheaves, frees after a grace
//! period, validation, faults that park slots, memory by size and its resizing, drains, other caches made and ended. The ordinary
//! allocations and frees are in `nolock_signals.rs`.

mod support;

use haybarn::fault::{FaultAttr, fail_slab};
use haybarn::kmalloc::{kfree, kfree_bulk, kfree_nolock, kmalloc, kmalloc_nolock, krealloc};
use haybarn::sync::Counter;
use haybarn::{AllocFlags, Arena, CacheArgs, CacheName, RawCache, SlabFlags, set_virtual_cpu};
use std::cell::Cell;
use std::ptr::{NonNull, null_mut};
use std::time::{Duration, Instant};
use support::*;

const CACHES: usize = 3;
/// Calls that are interrupted, by number.
const CALLS: usize = 10;
/// So often is each call interrupted at least.
const OFTEN: u64 = 4;

#[derive(Clone, Copy)]
struct Mine {
    arena: &'static Arena,
    caches: [RawCache; CACHES],
}

thread_local! {
    static MINE: Cell<Option<Mine>> = const { Cell::new(None) };
    /// The call that the thread is in.
    static CALL: Cell<usize> = const { Cell::new(CALLS) };
}

static INSIDE: [Counter; CALLS] = [const { Counter::new() }; CALLS];
static GOT: Counter = Counter::new();
static FAULTS: Counter = Counter::new();

fn stamp(object: *mut u8, value: u64) {
    // SAFETY: the caller's object, 16 bytes at least.
    unsafe { object.cast::<u64>().add(1).write_volatile(value) };
}

fn stamp_of(object: *mut u8) -> u64 {
    // SAFETY: as above.
    unsafe { object.cast::<u64>().add(1).read_volatile() }
}

extern "C" fn handler(_: libc::c_int) {
    let Some(Mine { arena, caches }) = MINE.get() else { return };
    if let Some(inside) = INSIDE.get(CALL.get()) {
        inside.add(1);
    }
    let mut held: [Option<NonNull<u8>>; 6] = [None; 6];
    for from in 0..=CACHES {
        for (n, place) in held.iter_mut().enumerate() {
            let flags = if n == 2 { AllocFlags::ZERO } else { AllocFlags::empty() };
            *place = match caches.get(from) {
                Some(cache) if n == 3 => cache.alloc_node_nolock(flags, 0),
                Some(cache) => cache.alloc_nolock(flags),
                None => kmalloc_nolock(arena, 100, flags),
            };
            if let Some(object) = *place {
                stamp(object.as_ptr(), !(n as u64));
                GOT.add(1);
            }
        }
        for (n, place) in held.iter_mut().enumerate() {
            let Some(object) = place.take() else { continue };
            FAULTS.add(u64::from(stamp_of(object.as_ptr()) != !(n as u64)));
            // SAFETY: ours.
            unsafe {
                match caches.get(from) {
                    Some(cache) => cache.free_nolock(object),
                    None => kfree_nolock(arena, object.as_ptr()),
                }
            }
        }
    }
}

/// One round of every call, each named for the handler.
fn round(mine: Mine, n: &mut u64) {
    let Mine { arena, caches } = mine;
    let mut next = || {
        *n += 1;
        *n
    };
    let call = |number: usize, body: &mut dyn FnMut()| {
        CALL.set(number);
        body();
        CALL.set(CALLS);
    };
    for cache in caches {
        call(0, &mut || {
            let mut sheaf = cache.prefill(PLAIN, 100).expect("memory");
            let taken: Vec<_> = (0..60).map(|_| (sheaf.alloc(PLAIN).expect("it was set aside"), next())).collect();
            taken.iter().for_each(|&(object, n)| stamp(object.as_ptr(), n));
            sheaf.refill(PLAIN, 90).expect("memory");
            drop(sheaf);
            for (object, n) in taken {
                assert_eq!(stamp_of(object.as_ptr()), n, "the handler got an object that is in use");
                give(cache, [object]);
            }
        });
        call(1, &mut || {
            for object in take_many(cache, 200) {
                // SAFETY: ours, given once.
                unsafe { cache.free_rcu(object) }.expect("no callback runs");
            }
        });
        call(2, &mut || cache.rcu_barrier().expect("no read section"));
        call(3, &mut || {
            let held = take_many(cache, 150);
            give(cache, held);
            cache.validate().expect("whole lists");
        });
        call(4, &mut || {
            let never = FaultAttr { probability: 0.0, ..FaultAttr::default() };
            let fault = fail_slab(Some(cache), never).expect("a cache that shares with nobody");
            let held = take_many(cache, 100);
            give(cache, held);
            assert_eq!(fault.end(), 0);
        });
        call(5, &mut || (0..arena.cpus().min(4)).for_each(|cpu| cache.drain_cpu(cpu)));
        call(6, &mut || drop(cache.live_objects(4)));
    }
    call(7, &mut || {
        // SAFETY: each is ours, and goes once.
        unsafe {
            let mut held: Vec<_> = (0..120).map(|n| kmalloc(arena, 16 + n * 3, PLAIN).unwrap().as_ptr()).collect();
            held.iter().for_each(|&object| stamp(object, 7));
            for object in &mut held {
                *object = krealloc(arena, *object, 200, PLAIN).unwrap().as_ptr();
                assert_eq!(stamp_of(*object), 7, "the handler got memory that is in use");
            }
            kfree_bulk(arena, &mut held);
        }
    });
    call(8, &mut || {
        for n in 1..200 {
            // SAFETY: as above.
            unsafe { kfree(arena, kmalloc(arena, n * 10_000, PLAIN).unwrap().as_ptr()) };
        }
    });
    call(9, &mut || {
        let (one, two) = (name(arena, "one", 504), name(arena, "two", 500));
        // SAFETY: nobody uses them any more.
        unsafe {
            give(two.raw(), take_many(two.raw(), 50));
            one.destroy().unwrap();
            two.destroy().unwrap();
        }
    });
}

fn name(arena: &'static Arena, text: &str, size: usize) -> CacheName {
    CacheName::create(arena, text, size, &CacheArgs::default()).unwrap()
}

/// Does all that until `stop`.
fn hammer(mine: Mine, stop: &Counter, id: &Counter) {
    MINE.set(Some(mine));
    set_virtual_cpu(Some(0));
    // SAFETY: says who this thread is.
    id.set(unsafe { libc::pthread_self() } as u64);
    let mut n = 0;
    while stop.get() == 0 {
        round(mine, &mut n);
    }
    MINE.set(None);
}

#[test]
fn a_handler_comes_in_in_the_middle_of_calls_that_are_not_for_handlers() {
    // SAFETY: a zeroed `sigaction` is one without flags and with an empty mask; the handler calls what is made for handlers.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_RESTART;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &raw const action, null_mut()), 0);
    }
    let backends = BACKENDS.into_iter().filter_map(|backend| arena(config(backend, FORMS[1])));
    for arena in backends.chain(virtual_arenas(4, 2)) {
        let of = |name: &str, args| create(arena, name, 64, &args);
        let caches = [
            of("plain", CacheArgs::default()),
            of("small", CacheArgs { sheaf_capacity: 4, ..CacheArgs::default() }),
            of("typesafe", CacheArgs { flags: SlabFlags::TYPESAFE_BY_RCU, ..CacheArgs::default() }),
        ];
        let mine = Mine { arena, caches };
        INSIDE.iter().for_each(|inside| inside.set(0));
        let (stop, id, got) = (Counter::new(), Counter::new(), GOT.get());
        std::thread::scope(|scope| {
            scope.spawn(|| hammer(mine, &stop, &id));
            while id.get() == 0 {
                std::thread::yield_now();
            }
            // No time is asked for, only an end.
            let end = Instant::now() + Duration::from_secs(60);
            let enough = || INSIDE.iter().all(|inside| inside.get() >= OFTEN) && GOT.get() > got + 300;
            while !enough() && Instant::now() < end {
                // SAFETY: the thread lives: its scope is not over.
                assert_eq!(unsafe { libc::pthread_kill(id.get() as libc::pthread_t, libc::SIGUSR1) }, 0);
                // The thread's turn: one that only comes to handlers gets nowhere.
                std::thread::sleep(Duration::from_micros(50));
            }
            stop.add(1);
        });
        let inside: Vec<_> = INSIDE.iter().map(Counter::get).collect();
        assert!(inside.iter().all(|&times| times >= OFTEN), "interrupted inside each call: {inside:?}");
        assert_eq!(FAULTS.get(), 0, "{}", arena.backend());
        for cache in caches {
            cache.rcu_barrier().unwrap();
            audit_drained(cache, 0);
            end(cache);
        }
    }
}
