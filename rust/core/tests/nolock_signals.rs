//! A handler that allocates and frees inside every kind of ordinary operation, in the caches that the interrupted thread uses:
//! caches of each kind, with destructors and type-safe ones among them. Nobody waits, nothing is handed out twice, no foreign
//! code runs in the handler.

mod support;

use haybarn::sync::Counter;
use haybarn::{AllocFlags, CacheArgs, CtorError, DtorMode, Hooks, RawCache, SlabFlags, set_virtual_cpu};
use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::signals::*;
use support::*;

const CACHES: usize = 5;

thread_local! {
    /// The caches that this thread's handler uses; none on a thread that has no part.
    static MINE: Cell<Option<[RawCache; CACHES]>> = const { Cell::new(None) };
    static IN_HANDLER: Cell<bool> = const { Cell::new(false) };
}

static HANDLED: Counter = Counter::new();
static GOT: Counter = Counter::new();
static FAULTS: Counter = Counter::new();

extern "C" fn handler(_: libc::c_int) {
    let Some(caches) = MINE.get() else { return };
    IN_HANDLER.set(true);
    let mut held: [Option<NonNull<u8>>; 8] = [None; 8];
    for cache in caches {
        for (n, place) in held.iter_mut().enumerate() {
            // `None` is an answer: pages would have to come from the system.
            *place = cache.alloc_nolock(AllocFlags::empty());
            if let Some(object) = *place {
                stamp(object, !(n as u64));
                GOT.add(1);
            }
        }
        for (n, place) in held.iter_mut().enumerate().rev() {
            let Some(object) = place.take() else { continue };
            FAULTS.add(u64::from(stamp_of(object) != !(n as u64)));
            // SAFETY: ours.
            unsafe { cache.free_nolock(object) };
        }
    }
    HANDLED.add(1);
    IN_HANDLER.set(false);
}

/// Hooks that must not be called in a handler.
struct Outside;

impl Hooks for Outside {
    fn construct(&self, object: NonNull<u8>) -> Result<(), CtorError> {
        FAULTS.add(u64::from(IN_HANDLER.get()));
        // SAFETY: the object's first word.
        unsafe { object.cast::<u64>().write(object.as_ptr().addr() as u64) };
        Ok(())
    }

    fn destruct(&self, object: NonNull<u8>) {
        FAULTS.add(u64::from(IN_HANDLER.get()));
        // SAFETY: as above.
        FAULTS.add(u64::from(unsafe { object.cast::<u64>().read() } != object.as_ptr().addr() as u64));
    }

    fn keep_run(&self, _: NonNull<u8>, _: usize) -> bool {
        FAULTS.add(u64::from(IN_HANDLER.get()));
        false
    }

    fn died(&self) {
        FAULTS.add(u64::from(IN_HANDLER.get()));
    }
}

/// Allocates and frees until `stop`, in a way that comes by every path again and again.
fn hammer(caches: [RawCache; CACHES], stop: &Counter, id: &Counter) {
    MINE.set(Some(caches));
    set_virtual_cpu(Some(0));
    introduce(id);
    let (mut held, mut n) = (Vec::with_capacity(300), 0);
    while stop.get() == 0 {
        for cache in caches {
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
            let _gone = cache.shrink();
        }
    }
    MINE.set(None);
}

#[test]
fn a_handler_allocates_and_frees_inside_everything() {
    handle(libc::SIGUSR1, handler);
    for arena in every_arena() {
        let hooks = || CacheArgs { hooks: Some(Arc::new(Outside)), ..CacheArgs::default() };
        let of = |name: &str, args| create(arena, name, 64, &args);
        let caches = [
            of("plain", CacheArgs::default()),
            of("counted", CacheArgs { count_hits: true, ..CacheArgs::default() }),
            of("typesafe", CacheArgs { flags: SlabFlags::TYPESAFE_BY_RCU, ..CacheArgs::default() }),
            of("inline", hooks()),
            of("service", CacheArgs { dtor_mode: DtorMode::Service, ..hooks() }),
        ];
        let (stop, id, before, got) = (Counter::new(), Counter::new(), HANDLED.get(), GOT.get());
        std::thread::scope(|scope| {
            scope.spawn(|| hammer(caches, &stop, &id));
            let end = Instant::now() + Duration::from_secs(60);
            // At first there are no pages yet that a handler may take.
            while (HANDLED.get() < before + 300 || GOT.get() < got + 100) && Instant::now() < end {
                send(&id, libc::SIGUSR1);
                // The thread's turn: one that only comes to handlers gets nowhere.
                std::thread::sleep(Duration::from_micros(50));
            }
            stop.add(1);
        });
        assert!(HANDLED.get() >= before + 100, "{} signals were handled", HANDLED.get() - before);
        assert!(GOT.get() >= got + 100, "the handler got {} objects", GOT.get() - got);
        assert_eq!(FAULTS.get(), 0, "{}", arena.backend());
        caches.into_iter().for_each(end);
    }
}
