//! fork while other threads are inside the allocator: the child's caches work, and no object has two owners there.
//!
//! What the parent's other threads had in their hands is lost to the child. The child may neither panic nor print, since a
//! lock of another thread may have been forked too; its exit code says what it found.

mod support;

use haybarn::sync::Counter;
use haybarn::{AllocFlags, Arena, ArenaConfig, BackendKind, CacheArgs, RawCache, set_virtual_cpu};
use std::ptr::{NonNull, null_mut};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use support::*;

const SIZE: usize = 64;
const ROUNDS: usize = 40;
/// Objects that the parent's main thread holds across the fork.
const KEPT: usize = 100;

/// One fork at a time: the tests of this file run in threads of one process.
static FORKS: Mutex<()> = Mutex::new(());

/// Set once, by the thread that forks.
#[derive(Default)]
struct Stop(Counter);

impl Stop {
    fn set(&self) {
        self.0.add(1);
    }

    fn is_set(&self) -> bool {
        self.0.get() != 0
    }
}

/// The child's work on one cache; 0 is well. `scratch` was allocated before the fork.
fn use_in_child(cache: RawCache, kept: &[NonNull<u8>], scratch: &mut [*mut u8]) -> i32 {
    for cpu in 0..cache.arena().cpus() {
        set_virtual_cpu(Some(cpu));
        // More than sheaves and partial slabs hold, so that all of their objects come out.
        for place in scratch.iter_mut() {
            let Some(object) = cache.alloc(AllocFlags::empty()) else { return 2 };
            *place = object.as_ptr();
        }
        // An object that is handed out twice shows its first stamp.
        for (n, &object) in scratch.iter().enumerate() {
            // SAFETY: the child's own, `SIZE` bytes.
            unsafe { object.cast::<u64>().write(n as u64) };
        }
        for (n, &object) in scratch.iter().enumerate() {
            // SAFETY: as above.
            if unsafe { object.cast::<u64>().read() } != n as u64 {
                return 3;
            }
        }
        for (n, object) in kept.iter().enumerate() {
            // SAFETY: the main thread's own, in parent and child.
            if unsafe { object.cast::<u64>().read() } != !(n as u64) {
                return 4;
            }
        }
        let (singly, batch) = scratch.split_at_mut(scratch.len() / 2);
        for &mut object in singly {
            // SAFETY: the child's own.
            unsafe { cache.free(NonNull::new_unchecked(object)) };
        }
        // SAFETY: as above.
        unsafe { cache.free_bulk(batch) };
    }
    let _ = cache.shrink();
    if cache.validate().is_err() {
        return 5;
    }
    let Some(object) = cache.alloc(AllocFlags::ZERO) else { return 6 };
    // SAFETY: as above.
    unsafe { cache.free(object) };
    0
}

/// Forks again and again while `others` run, with the child working on every cache.
fn fork_under(caches: &[RawCache], others: &[&(dyn Fn(&Stop) + Sync)]) {
    let _one_at_a_time = FORKS.lock();
    let stop = Stop::default();
    let kept: Vec<Vec<_>> = caches.iter().map(|&cache| take_many(cache, KEPT)).collect();
    for object in kept.iter().flatten().zip((0..KEPT as u64).cycle()) {
        // SAFETY: ours.
        unsafe { object.0.cast::<u64>().write(!object.1) };
    }
    let mut scratch = vec![null_mut(); 3000];
    let outcome = std::thread::scope(|scope| {
        for other in others {
            scope.spawn(|| other(&stop));
        }
        let end = Instant::now() + Duration::from_secs(3);
        let mut outcome = Ok(());
        for round in 0..ROUNDS {
            let code = in_child(|| {
                caches
                    .iter()
                    .zip(&kept)
                    .enumerate()
                    .map(|(n, (&cache, kept))| (n, use_in_child(cache, kept, &mut scratch)))
                    .find(|&(_, code)| code != 0)
                    .map_or(0, |(n, code)| 10 * (n as i32 + 1) + code)
            });
            if code != 0 {
                outcome = Err(format!("round {round}: the child ended with {code}: see `use_in_child`"));
            }
            if code != 0 || Instant::now() > end {
                break;
            }
            // The next fork should find the others somewhere else.
            std::thread::sleep(Duration::from_micros(137 * round as u64));
        }
        stop.set();
        outcome
    });
    assert_eq!(outcome, Ok(()));
    for (&cache, kept) in caches.iter().zip(kept) {
        give(cache, kept);
        end(cache);
    }
}

fn hammer(cache: RawCache, cpu: u32, stop: &Stop) {
    set_virtual_cpu(Some(cpu));
    let mut held = Vec::with_capacity(400);
    let mut state = cpu + 1;
    while !stop.is_set() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if held.len() < 300 && (state >> 16) & 3 != 0 {
            held.push(take(cache));
        } else if state & 1 << 20 == 0 {
            give(cache, held.drain(..).rev());
        } else {
            give_bulk(cache, &held);
            held.clear();
        }
    }
    give(cache, held);
}

#[test]
fn while_threads_hammer_every_backend() {
    let arenas = every_arena();
    let caches: Vec<_> = arenas.iter().map(|arena| create(arena, "hammered", SIZE, &CacheArgs::default())).collect();
    let all = caches.clone();
    let work: Vec<_> = (0..2)
        .map(|cpu| {
            let all = &all;
            move |stop: &Stop| {
                while !stop.is_set() {
                    for &cache in all {
                        let brief = Instant::now() + Duration::from_millis(3);
                        let mut held = Vec::with_capacity(300);
                        set_virtual_cpu(Some(cpu));
                        while Instant::now() < brief {
                            held.extend((0..250).map(|_| take(cache)));
                            give(cache, held.drain(100..));
                            give_bulk(cache, &held);
                            held.clear();
                        }
                    }
                }
            }
        })
        .collect();
    let work: Vec<&(dyn Fn(&Stop) + Sync)> = work.iter().map(|f| f as _).collect();
    fork_under(&caches, &work);
}

/// A fork in the middle of a drain, the only step that closes a slot: rseq's stop word, the others' flag.
fn while_a_thread_drains(kind: BackendKind, shrink: fn(RawCache)) {
    for form in FORMS {
        let cpus = (kind == BackendKind::Virtual).then_some(2);
        let Some(arena) = arena(ArenaConfig { cpus, ..config(kind, form) }) else { return };
        drained(arena, shrink);
    }
}

fn drained(arena: &'static Arena, shrink: fn(RawCache)) {
    let cache = create(arena, "drained", SIZE, &CacheArgs { sheaf_capacity: 1000, ..CacheArgs::default() });
    let drain = |stop: &Stop| {
        while !stop.is_set() {
            shrink(cache);
            // Fills the sheaves again, so that the next drain has much to flush.
            let objects = take_many(cache, 900);
            give(cache, objects);
        }
    };
    let work = |stop: &Stop| hammer(cache, 1, stop);
    fork_under(&[cache], &[&drain, &work]);
}

fn shrink(cache: RawCache) {
    let _ = cache.shrink();
}

fn validate(cache: RawCache) {
    assert_eq!(cache.validate(), Ok(()));
}

#[test]
fn while_a_thread_shrinks_on_rseq() {
    while_a_thread_drains(BackendKind::Rseq, shrink);
}

#[test]
fn while_a_thread_shrinks_on_locked() {
    while_a_thread_drains(BackendKind::Locked, shrink);
}

#[test]
fn while_a_thread_shrinks_on_virtual() {
    while_a_thread_drains(BackendKind::Virtual, shrink);
}

#[test]
fn while_a_thread_validates() {
    for kind in BackendKind::ALL {
        while_a_thread_drains(kind, validate);
    }
}

/// The registry of caches has a lock; the child finds it free and the table whole.
#[test]
fn while_a_thread_creates_and_destroys_caches() {
    let _one_at_a_time = FORKS.lock();
    for arena in every_arena() {
        let stop = Stop::default();
        let codes: Vec<_> = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.is_set() {
                    let cache = create(arena, "fleeting", SIZE, &CacheArgs::default());
                    give(cache, [take(cache)]);
                    // SAFETY: nobody else has the handle.
                    unsafe { cache.destroy() }.unwrap();
                }
            });
            let codes = (0..20).map(|_| in_child(|| create_in_child(arena))).collect();
            stop.set();
            codes
        });
        assert_eq!(codes, vec![0; 20], "{}: see `create_in_child`", arena.backend());
    }
}

fn create_in_child(arena: &'static Arena) -> i32 {
    if arena.cache_names().len() > 1 {
        return 2;
    }
    let Ok(cache) = RawCache::create(arena, "child's", SIZE, &CacheArgs::default()) else { return 3 };
    let mut scratch = [null_mut(); 200];
    let code = use_in_child(cache, &[], &mut scratch);
    // SAFETY: nobody else has the handle.
    if code == 0 && unsafe { cache.destroy() }.is_err() { 7 } else { code }
}
