//! CPUs that nobody uses any more: what their sheaves hold goes back to the slabs by itself, and nobody is woken for nothing.

mod support;

use haybarn::{Arena, BackendKind, CPU_IDLE, CacheArgs, CacheStats, RawCache, Stat, set_virtual_cpu};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use support::process::{child, is_child, output};
use support::*;

/// Real CPUs, in both ways to enter their slots.
fn real_arenas() -> Vec<&'static Arena> {
    [BackendKind::Rseq, BackendKind::Locked].into_iter().filter_map(|kind| arena(config(kind, FORMS[0]))).collect()
}

fn counted() -> CacheArgs {
    CacheArgs { count_hits: true, ..CacheArgs::default() }
}

/// Leaves objects in this CPU's sheaves.
fn use_cpu(cache: RawCache) {
    let objects = take_many(cache, 200);
    give(cache, objects);
}

/// Waits until the sheaves of CPUs are empty; how long that took. Far more time than it may take, for a machine that is busy.
fn wait_until_drained(cache: RawCache) -> Duration {
    let begun = Instant::now();
    while cache.stats().nodes.iter().any(|node| node.in_cpus > 0) {
        assert!(begun.elapsed() < 10 * CPU_IDLE, "still there: {:?}", cache.stats().nodes);
        std::thread::sleep(Duration::from_millis(20));
    }
    begun.elapsed()
}

#[test]
fn threads_that_end_leave_nothing_on_their_cpus() {
    for arena in real_arenas() {
        let cache = create(arena, "ended", 192, &counted());
        let threads: Vec<_> = (0..arena.cpus().min(4))
            .map(|cpu| {
                std::thread::spawn(move || {
                    let _stay = Pinned::to(cpu);
                    use_cpu(cache);
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(cache.stats().nodes.iter().any(|node| node.in_cpus > 0), "or there is nothing to see");
        let took = wait_until_drained(cache);
        eprintln!("{}: drained after {took:?}", arena.backend());
        // And again: who is drained is looked after the next time too.
        use_cpu(cache);
        wait_until_drained(cache);
        end(cache);
    }
}

/// A slow allocation that only swaps main and spare says so too: what handlers have put there, who tell nobody, is found.
#[test]
fn a_swap_of_main_and_spare_is_a_use() {
    for arena in real_arenas() {
        let _stay = Pinned::to(0);
        let cache = create(arena, "swapped", 64, &CacheArgs::default());
        let capacity = cache.info().sheaf_capacity as usize;
        // Whose end starts the service, if nobody has.
        std::thread::spawn(move || use_cpu(cache)).join().unwrap();
        let mut held = take_many(cache, 8 * capacity);
        // Leaves empty sheaves in the barn.
        give(cache, held.split_off(2 * capacity));
        held.extend(take_many(cache, 6 * capacity));
        wait_until_drained(cache);
        // And until a look has found nothing.
        std::thread::sleep(CPU_IDLE);
        for object in held.split_off(6 * capacity + 5) {
            // SAFETY: taken above.
            unsafe { cache.free_nolock(object) };
        }
        let moved = |stats: &CacheStats| [Stat::SheafRefill, Stat::BarnGet].map(|stat| stats.get(stat));
        let before = cache.stats();
        assert!(before.in_sheaves > capacity as u64, "{before:?}");
        held.extend(take_many(cache, capacity));
        let after = cache.stats();
        assert_eq!((moved(&after), after.in_sheaves > 0), (moved(&before), true), "not only swapped");
        wait_until_drained(cache);
        give(cache, held);
        end(cache);
    }
}

/// Threads live on, but their CPUs are others now: what they left behind is drained while they work where they are.
#[test]
fn an_affinity_that_shrinks() {
    for arena in real_arenas() {
        if arena.cpus() < 2 || std::thread::available_parallelism().unwrap().get() < 2 {
            eprintln!("not run: one CPU");
            continue;
        }
        // A thread's end, which starts the service.
        let first = create(arena, "first", 64, &counted());
        std::thread::spawn(move || use_cpu(first)).join().unwrap();
        let cache = create(arena, "shrunk", 128, &counted());
        let (go, told): (Sender<()>, Receiver<()>) = channel();
        let worker = std::thread::spawn(move || {
            let there = Pinned::to(1);
            use_cpu(cache);
            let left = cache.stats();
            let _here = Pinned::to(0);
            while told.try_recv().is_err() {
                give(cache, take_many(cache, 100));
                std::thread::sleep(Duration::from_millis(1));
            }
            core::mem::forget(there);
            left.in_sheaves
        });
        let begun = Instant::now();
        // The cache is in use all the time; its memory is that of one CPU in the end.
        let capacity = u64::from(cache.info().sheaf_capacity);
        std::thread::sleep(CPU_IDLE);
        while cache.stats().nodes[0].in_cpus > 2 * capacity {
            assert!(begun.elapsed() < 10 * CPU_IDLE);
            std::thread::sleep(Duration::from_millis(20));
        }
        go.send(()).unwrap();
        assert!(worker.join().unwrap() > 0);
        wait_until_drained(cache);
        end(cache);
        end(first);
    }
}

#[test]
fn virtual_cpus_go_when_their_owner_says_so() {
    for arena in virtual_arenas(4, 2) {
        let cache = create(arena, "named", 96, &CacheArgs::default());
        for cpu in 0..4 {
            set_virtual_cpu(Some(cpu));
            use_cpu(cache);
        }
        let held = |cache: RawCache| cache.stats().nodes.iter().map(|node| node.in_cpus).collect::<Vec<_>>();
        let before = held(cache);
        cache.drain_cpu(3);
        assert!(held(cache)[0] == before[0] && held(cache)[1] < before[1]);
        cache.drain_cpu(2);
        assert_eq!(held(cache), [before[0], 0]);
        cache.drain_cpu(4);
        cache.drain_cpu(u32::MAX);
        assert_eq!(held(cache), [before[0], 0], "CPUs that are not there");
        audit(cache, 0);
        end(cache);
    }
}

/// How often the service thread has slept.
fn sleeps() -> Option<u64> {
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    let service = tasks.flatten().find(|task| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "haybarn-service")
    })?;
    let status = std::fs::read_to_string(service.path().join("status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"))?;
    line.split_whitespace().last()?.parse().ok()
}

#[test]
fn child_sleeps() {
    if !is_child() {
        return;
    }
    let arena = Arena::global().unwrap();
    let cache = create(arena, "asleep", 128, &counted());
    use_cpu(cache);
    assert!(!haybarn::service::is_running(), "one thread stays one thread");
    // There the program says itself when it needs a cache less.
    let in_cpus = || cache.stats().nodes.iter().map(|node| node.in_cpus).sum::<u64>();
    assert!(in_cpus() > 0);
    let _released = cache.shrink();
    assert_eq!(in_cpus(), 0);
    use_cpu(cache);
    std::thread::spawn(move || use_cpu(cache)).join().unwrap();
    wait_until_drained(cache);
    assert!(haybarn::service::is_running());
    // The look that finds nothing is the last one, however late it comes.
    std::thread::sleep(CPU_IDLE);
    let mut before = sleeps().expect("the service thread");
    let stays = || {
        std::thread::sleep(2 * CPU_IDLE);
        sleeps() == Some(std::mem::replace(&mut before, sleeps().expect("the service thread")))
    };
    assert!(std::iter::repeat_with(stays).take(3).any(|stays| stays), "woken with nothing to look after");
    use_cpu(cache);
    wait_until_drained(cache);
    assert!(sleeps() > Some(before));
    end(cache);
}

#[test]
fn nobody_is_woken_for_nothing() {
    for backend in ["rseq", "locked"] {
        let mut command = child("child_sleeps");
        command.env("HAYBARN_BACKEND", backend);
        if backend == "rseq" && arena(config(BackendKind::Rseq, FORMS[0])).is_none() {
            continue;
        }
        output(command);
    }
}
