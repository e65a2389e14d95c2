//! The kernel's memory faults (K§9) that belong to these paths: one test each, named after the erratum. docs/faults.md lists them.

mod support;

use haybarn::{AllocFlags, BackendKind, CacheArgs, Level, RawCache, Stat, set_virtual_cpu};
use std::collections::HashSet;
use std::ptr::NonNull;
use support::*;

fn on(cpu: u32) {
    set_virtual_cpu(Some(cpu));
}

fn args(sheaf_capacity: u32) -> CacheArgs {
    CacheArgs { sheaf_capacity, ..CacheArgs::default() }
}

/// A refill that runs out of pages half way hands out what it has; nothing is lost when it is given back.
#[test]
fn e1_partial_refill_under_a_failing_source_loses_nothing() {
    for (arena, switch) in every_failing_arena() {
        on(0);
        let cache = create(arena, "e1", 256, &args(200));
        let per_slab = cache.info().objs_per_slab as usize;
        assert!(per_slab < 200, "one refill needs several slabs");
        // Metadata is there from the first round on, so that each grant below is a slab.
        give(cache, take_many(cache, 2000));
        assert!(cache.shrink() > 0);
        for grants in 0..12 {
            switch.fail_after(grants);
            let objects: Vec<_> = std::iter::from_fn(|| cache.alloc(PLAIN)).collect();
            assert!(switch.refused() > 0);
            let rest = take_all(cache);
            let got = objects.iter().chain(&rest).collect::<HashSet<_>>().len();
            assert_eq!(got, objects.len() + rest.len(), "an object was handed out twice");
            assert_eq!(got, grants as usize * per_slab, "{} after {grants} slabs", arena.backend());
            audit(cache, got);
            switch.heal();
            let more = take_many(cache, 300);
            audit(cache, got + 300);
            give(cache, objects.into_iter().chain(rest).chain(more));
            exhaust(cache, &switch, 0);
            assert!(cache.shrink() > 0);
        }
        end(cache);
    }
}

/// The same where it hurt in the kernel: the sheaf that was filled in part had been the spare, or came from the barn.
#[test]
fn e1_partial_refill_into_a_spare_or_a_barn_sheaf() {
    for (arena, switch) in every_failing_arena() {
        on(0);
        let cache = create(arena, "e1-spare", 512, &args(100));
        for round in 0..20 {
            // Fill main and spare and the barn, then empty them all: the next refill finds empty sheaves to use.
            let objects = take_many(cache, 100 * (1 + round % 5) + round);
            give_bulk(cache, &objects);
            switch.fail_after(1);
            let taken = take_all(cache);
            switch.heal();
            audit(cache, taken.len());
            assert_eq!(taken.iter().collect::<HashSet<_>>().len(), taken.len());
            give(cache, taken);
            audit(cache, 0);
        }
        exhaust(cache, &switch, 0);
        end(cache);
    }
}

/// Bulk free with remote objects in every position, the 32nd remote one last among them: all are freed, none of the remote
/// ones lands in a sheaf.
#[test]
fn e2_bulk_free_with_remote_objects_in_every_position() {
    for arena in virtual_arenas(2, 2) {
        let cache = create(arena, "e2", 64, &args(40));
        let mut patterns: Vec<Vec<bool>> = Vec::new(); // true: remote
        for locals in [0, 1, 5, 31, 32, 33, 40, 81] {
            for remotes in [1, 31, 32, 33, 64] {
                let mut pattern = vec![false; locals];
                pattern.resize(locals + remotes, true);
                patterns.push(pattern.clone());
                patterns.push(pattern.iter().rev().copied().collect());
                patterns.push((0..locals + remotes).map(|n| n % 2 == 0).collect());
            }
        }
        for at in 0..40 {
            let mut pattern = vec![false; 40];
            pattern[at] = true;
            patterns.push(pattern.iter().map(|&remote| !remote).collect());
            patterns.push(pattern);
        }
        for pattern in patterns {
            let count = |remote| pattern.iter().filter(|&&is| is == remote).count();
            on(1);
            let mut remote = take_bulk(cache, count(true)).unwrap();
            on(0);
            let mut local = take_bulk(cache, count(false)).unwrap();
            let others: HashSet<_> = remote.iter().copied().collect();
            let objects: Vec<_> =
                pattern.iter().map(|&is| if is { &mut remote } else { &mut local }.pop().unwrap()).collect();
            let before = cache.stats();
            audit(cache, objects.len());
            give_bulk(cache, &objects);
            let after = cache.stats();
            let straight = after.get(Stat::FreeSlowpath) - before.get(Stat::FreeSlowpath);
            assert!(straight >= count(true) as u64, "{straight} of {} remote: {pattern:?}", count(true));
            audit(cache, 0);
            // What CPU 0's sheaves hold is local.
            let from_sheaves: Vec<_> =
                std::iter::from_fn(|| (cache.stats().in_sheaves > 0).then(|| cache.alloc_level(PLAIN)).flatten())
                    .take(40)
                    .collect();
            for &(object, level) in &from_sheaves {
                assert!(level != Level::Sheaf || !others.contains(&object), "remote object in a sheaf: {pattern:?}");
            }
            give(cache, from_sheaves.into_iter().map(|(object, _)| object));
        }
        end(cache);
    }
}

/// NOWAIT refills as ever: nothing on the path waits.
#[test]
fn e5_refill_is_allowed_for_nowait() {
    for arena in every_arena() {
        on(0);
        let cache = create(arena, "e5", 64, &args(0));
        let (first, level) = cache.alloc_level(AllocFlags::NOWAIT).unwrap();
        assert_eq!(level, Level::NewSlab, "{}", arena.backend());
        let stats = cache.stats();
        assert_eq!(stats.get(Stat::SheafRefill), 60, "{}", arena.backend());
        let mut batch = [std::ptr::null_mut(); 100];
        assert!(cache.alloc_bulk(AllocFlags::NOWAIT, &mut batch));
        give_bulk(cache, &batch.map(|object| NonNull::new(object).unwrap()));
        give(cache, [first]);
        end(cache);
    }
}

/// A barn on every node, also on those whose CPUs free only objects of other nodes, and before their first slab.
#[test]
fn e6_every_node_has_a_barn() {
    for arena in virtual_arenas(4, 4) {
        let cache = create(arena, "e6", 64, &args(10));
        on(0);
        let objects = take_many(cache, 2000);
        // CPUs of nodes 1 to 3, which have no memory of this cache, free all of it; the slabs go by remote frees alone (I13).
        for (n, chunk) in objects.chunks(50).enumerate() {
            on(1 + n as u32 % 3);
            if n % 2 == 0 { give(cache, chunk.iter().copied()) } else { give_bulk(cache, chunk) }
        }
        let stats = cache.stats();
        assert_eq!(stats.get(Stat::FreeSlowpath), 2000);
        assert!(stats.get(Stat::FreeSlab) > 0);
        audit(cache, 0);
        for cpu in 1..4 {
            on(cpu);
            let own = take_many(cache, 400);
            give(cache, own);
            assert!(cache.stats().per_cpu(cpu, Stat::BarnPut) > 0, "node {cpu} has no barn");
            assert!((0..100).any(|_| cache.alloc_level(PLAIN).is_some_and(|(object, level)| {
                give(cache, [object]);
                level == Level::Sheaf
            })));
        }
        audit(cache, 0);
        end(cache);
    }
}

/// Wholly free slabs that a node keeps are at most min_partial (I5): exact without sheaves.
#[test]
fn i5_few_wholly_free_slabs_are_kept() {
    for arena in every_arena() {
        for size in [8, 64, 1000, 4096] {
            let flags = haybarn::SlabFlags::NOLEAKTRACE;
            let cache = create(arena, "i5", size, &CacheArgs { flags, ..args(0) });
            let objects = take_many(cache, 40 * cache.info().objs_per_slab as usize);
            give(cache, objects);
            let (stats, keeps) = (cache.stats(), cache.info().min_partial);
            // A slab that was on the list counts itself when it asks whether there are enough.
            assert!((keeps - 1..=keeps).contains(&stats.slabs), "{} size {size}: {}", arena.backend(), stats.slabs);
            assert_eq!((stats.partial, stats.get(Stat::FreeSlab)), (stats.slabs, 40 - stats.slabs));
            end(cache);
        }
    }
}

/// What is counted when it comes is counted when it goes: sheaves alive are sheaf_alloc - sheaf_free, slabs alive are
/// alloc_slab - free_slab - shrink_slab, after every step.
#[test]
fn e7_counters_are_symmetric() {
    for (arena, switch) in every_failing_arena() {
        for (size, capacity) in [(64, 0), (8, 7), (1000, 0), (4096, 0), (20_000, 30)] {
            on(0);
            let cache = create(arena, "e7", size, &args(capacity));
            audit_drained(cache, 0);
            let mut held = Vec::new();
            for round in 0..12 {
                held.extend(take_many(cache, 37 * (1 + round % 4)));
                audit(cache, held.len());
                held.extend(take_bulk(cache, 91).unwrap());
                audit(cache, held.len());
                give(cache, held.split_off(held.len() / 2));
                audit(cache, held.len());
                let tail = held.split_off(held.len() / 3);
                give_bulk(cache, &tail);
                audit(cache, held.len());
                match round % 4 {
                    1 => audit_drained(cache, held.len()),
                    2 => drop((cache.shrink(), audit_drained(cache, held.len()))),
                    3 => exhaust(cache, &switch, held.len()),
                    _ => {}
                }
                on(round as u32 % 2);
            }
            give(cache, held);
            end(cache);
        }
    }
}

/// One thread that changes its CPU and node between any two steps: what it saw before holds no longer.
#[test]
fn e13_slots_are_read_again_after_a_migration() {
    for arena in virtual_arenas(6, 3) {
        let cache = create(arena, "e13", 64, &args(9));
        let mut held = Vec::new();
        let mut state = 12345_u32;
        for step in 0..30_000_u32 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            on(state >> 20);
            if (state >> 9) & 1 == 0 || held.is_empty() {
                held.push(take(cache));
            } else {
                give(cache, [held.swap_remove((state >> 3) as usize % held.len())]);
            }
            if step % 5000 == 0 {
                audit(cache, held.len());
            }
        }
        assert_eq!(held.iter().collect::<HashSet<_>>().len(), held.len());
        give(cache, held);
        end(cache);
    }
}

/// The same with four threads at once, which meet on CPUs that all of them name.
#[test]
fn e13_threads_that_hop_over_cpus() {
    for arena in virtual_arenas(6, 3) {
        hop(create(arena, "e13-threads", 64, &args(9)), on);
    }
}

/// The same on the machine's own CPUs: the scheduler moves the threads.
#[test]
fn e13_threads_that_the_system_moves() {
    for arena in every_arena().into_iter().filter(|arena| arena.backend() != BackendKind::Virtual) {
        let cpus = haybarn::present_cpus();
        hop(create(arena, "e13-system", 64, &args(9)), |state| {
            if state % 16 == 0 {
                // SAFETY: a plain system call on a set that is ours.
                unsafe {
                    let mut set: libc::cpu_set_t = std::mem::zeroed();
                    libc::CPU_SET((state >> 8) as usize % cpus as usize, &mut set);
                    // A CPU that is not ours to run on is refused; then the thread stays where it is.
                    libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
                }
            }
        });
    }
}

fn hop(cache: RawCache, move_to: impl Fn(u32) + Sync) {
    std::thread::scope(|scope| {
        for seed in 0..4_u64 {
            let move_to = &move_to;
            scope.spawn(move || {
                let mut held: Vec<NonNull<u8>> = Vec::new();
                let mut state = seed + 1;
                for _ in 0..10_000 {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let random = (state >> 33) as u32;
                    move_to(random);
                    if random & 4 == 0 || held.is_empty() {
                        let object = take(cache);
                        // SAFETY: ours, 64 bytes.
                        unsafe { object.cast::<u64>().write(seed) };
                        held.push(object);
                    } else {
                        let object = held.swap_remove(random as usize % held.len());
                        // SAFETY: as above.
                        assert_eq!(unsafe { object.cast::<u64>().read() }, seed, "somebody else has this object too");
                        give(cache, [object]);
                    }
                }
                give(cache, held);
            });
        }
    });
    end(cache);
}
