//! Threads in steady state, between two markers that a system call tracer sees: tests/test_strace.py runs it under strace.
//!
//! `steady [BACKEND] [plain|counted]`. Every path of alloc and free is taken: sheaves, barn, refill, flush, bulk, slabs that
//! come and go. Nobody waits for anybody in a system call: threads meet by looking at a counter.

use haybarn::sync::Counter;
use haybarn::{AllocFlags, Arena, ArenaConfig, BackendKind, CacheArgs, RawCache, Stat, set_virtual_cpu};
use std::ptr::{NonNull, null_mut};

const THREADS: u64 = 3;
const PLAIN: AllocFlags = AllocFlags::empty();

/// A system call that changes nothing and carries a text: a write to no file.
fn mark(text: &str) {
    // SAFETY: the text is readable; the descriptor is none, so the kernel refuses.
    unsafe { libc::write(-1, text.as_ptr().cast(), text.len()) };
}

fn wait_until(counter: &Counter, value: u64) {
    while counter.get() < value {
        core::hint::spin_loop();
    }
}

/// Works on a cache; `held` and `batch` have their room already.
fn work(cache: RawCache, held: &mut Vec<NonNull<u8>>, batch: &mut [*mut u8]) {
    // One by one: sheaf, barn, refill, new slabs.
    for _ in 0..held.capacity() {
        held.push(cache.alloc(PLAIN).expect("memory"));
    }
    // Back in another order: sheaf, barn, flush, slabs that go.
    for start in 0..7 {
        for at in (start..held.len()).step_by(7) {
            // SAFETY: ours, each once.
            unsafe { cache.free(held[at]) };
        }
    }
    held.clear();
    for _ in 0..20 {
        assert!(cache.alloc_bulk(PLAIN, batch), "memory");
        // SAFETY: ours.
        unsafe { cache.free_bulk(batch) };
    }
    for _ in 0..2000 {
        let object = cache.alloc_counted(AllocFlags::ZERO).expect("memory");
        // SAFETY: ours.
        unsafe { cache.free_counted(object) };
    }
}

fn main() -> Result<(), haybarn::Error> {
    let mut arguments = std::env::args().skip(1);
    let backend = arguments.next().map(|name| name.parse::<BackendKind>()).transpose()?;
    let count_hits = arguments.next().is_some_and(|kind| kind == "counted");
    let cpus = (backend == Some(BackendKind::Virtual)).then_some(2);
    let arena = Arena::create(ArenaConfig { backend, cpus, ..ArenaConfig::default() })?;
    let made = [24, 64, 1500].map(|size| {
        RawCache::create(arena, &format!("steady-{size}"), size, &CacheArgs { count_hits, ..CacheArgs::default() })
    });
    let caches = made.into_iter().collect::<Result<Vec<_>, _>>()?;
    let (warm, go, done) = (Counter::new(), Counter::new(), Counter::new());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (warm, go, done, caches) = (&warm, &go, &done, &caches);
            scope.spawn(move || {
                set_virtual_cpu(Some(thread as u32));
                let (mut held, mut batch) = (Vec::with_capacity(4000), vec![null_mut(); 300]);
                let mut work_on_all = || caches.iter().for_each(|&cache| work(cache, &mut held, &mut batch));
                (0..3).for_each(|_| work_on_all());
                warm.add(1);
                wait_until(go, 1);
                (0..10).for_each(|_| work_on_all());
                done.add(1);
                // The end of a thread is system calls: not before the marker.
                wait_until(go, 2);
            });
        }
        wait_until(&warm, THREADS);
        mark("steady state begins");
        go.add(1);
        wait_until(&done, THREADS);
        mark("steady state ends");
        go.add(1);
    });
    println!("backend {}", arena.backend());
    let counters = [Stat::SheafRefill, Stat::SheafFlush, Stat::BarnGet, Stat::BarnPut, Stat::AllocSlab, Stat::FreeSlab];
    for stat in counters {
        println!("{} {}", stat.name(), caches.iter().map(|cache| cache.stats().get(stat)).sum::<u64>());
    }
    Ok(())
}
