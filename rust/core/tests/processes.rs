//! What depends on how a process starts: whose rseq area there is, which backend is taken or refused, and why.
//!
//! Each test runs this binary again with one of the `child_*` tests and a `HAYBARN_CHILD` that lets it do something.

mod support;

use haybarn::{Arena, ArenaConfig, BackendKind, CacheArgs, Error, Form, SlabFlags, Stat, failing_source};
use support::process::{can_filter, child, is_child, output, refuse, refuse_here};
use support::*;

/// Several threads that start before and after the arena is there use one cache.
fn work(arena: &'static Arena) {
    let cache = create(arena, "worked", 64, &CacheArgs { count_hits: true, ..CacheArgs::default() });
    for _ in 0..3 {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut held = Vec::new();
                    for n in 0..5000 {
                        held.push(cache.alloc_counted(PLAIN).unwrap());
                        if n % 3 == 0 {
                            give(cache, held.drain(held.len() / 2..));
                        }
                    }
                    give(cache, held);
                });
            }
        });
        audit_drained(cache, 0);
    }
    end(cache);
}

#[test]
fn child_default() {
    if is_child() {
        let arena = Arena::global().unwrap();
        println!("backend={} why={}", arena.backend(), arena.info().backend_why);
        work(arena);
    }
}

/// As above, with a thread that is there before the arena is made and its area registered.
#[test]
fn child_default_with_early_threads() {
    if is_child() {
        let (send, receive) = std::sync::mpsc::channel::<&'static Arena>();
        let early = std::thread::spawn(move || {
            let arena = receive.recv().unwrap();
            let cache = create(arena, "early", 64, &CacheArgs { count_hits: true, ..CacheArgs::default() });
            for _ in 0..1000 {
                let object = cache.alloc_counted(PLAIN).unwrap();
                // SAFETY: ours.
                unsafe { cache.free_counted(object) };
            }
            // From the second operation on the thread is registered: its hits are hits, not slabs.
            let hits = cache.stats().get(haybarn::Stat::AllocFastpath);
            assert!(hits >= 990, "{hits} of 1000 allocations were served by a sheaf");
            audit(cache, 0);
        });
        let arena = Arena::global().unwrap();
        println!("backend={} why={}", arena.backend(), arena.info().backend_why);
        send.send(arena).unwrap();
        early.join().unwrap();
        work(arena);
    }
}

#[test]
fn child_forced_rseq() {
    if is_child() {
        let config = ArenaConfig { backend: Some(BackendKind::Rseq), ..ArenaConfig::default() };
        let by_option = Arena::create(config).map(Arena::backend);
        println!("option={}", by_option.map_or_else(|error| error.to_string(), |kind| kind.to_string()));
        // SAFETY: this process runs this test alone.
        unsafe { std::env::set_var("HAYBARN_BACKEND", "rseq") };
        let error = Arena::global().err();
        println!("environment={}", error.as_ref().map_or("rseq".to_owned(), ToString::to_string));
        assert!(error.is_none() || matches!(error, Some(Error::Unavailable { .. })));
        // The refusal is the process's, the same each time.
        assert_eq!(Arena::global().err(), error);
        // Others may still be had.
        let locked = ArenaConfig { backend: Some(BackendKind::Locked), ..ArenaConfig::default() };
        work(Arena::create(locked).unwrap());
    }
}

/// A thread that is refused its area, beside a full barn, while memory is out. It cannot be stopped in the middle and so loses the slot
/// each time: what it took from the barn meanwhile must be served, not left behind.
#[test]
fn child_refused_thread_beside_a_full_barn() {
    if !is_child() {
        return;
    }
    let (source, switch) = failing_source();
    let arena = Arena::create(ArenaConfig { source, ..config(BackendKind::Rseq, Form::Double) }).unwrap();
    println!("why={}", arena.info().backend_why);
    // SAFETY: asks for a number.
    let _stay = Pinned::to(unsafe { libc::sched_getcpu() } as u32);
    let cache = create(arena, "beside", 64, &CacheArgs { flags: SlabFlags::NO_MERGE, ..CacheArgs::default() });
    let capacity = cache.info().sheaf_capacity as usize;
    let mut held = take_many(cache, 40 * capacity);
    give(cache, held.drain(..20 * capacity));
    // Main and spare are used up to the last object; what is left is the barn's.
    let from_barn = || cache.stats().get(Stat::BarnGet);
    let before = from_barn();
    while from_barn() == before {
        held.push(take(cache));
    }
    held.extend(take_many(cache, 2 * capacity - 1));
    let full = cache.stats().in_sheaves as usize;
    assert!(full >= 5 * capacity, "{full} objects in sheaves of {capacity}");
    switch.fail_now();
    let refused = std::thread::spawn(move || {
        refuse_here(libc::SYS_rseq, libc::EPERM).unwrap();
        let mut got = std::iter::from_fn(|| cache.alloc(PLAIN)).collect::<Vec<_>>();
        let count = got.len();
        got.sort_unstable();
        got.dedup();
        assert_eq!(got.len(), count, "an object was handed out twice");
        give(cache, got);
        count
    });
    let got = refused.join().unwrap();
    switch.heal();
    println!("full={full} got={got}");
    assert!(got >= full, "{got} of the {full} objects in the barn");
    give(cache, held);
    audit_drained(cache, 0);
    end(cache);
}

#[test]
fn a_thread_that_is_refused_its_area_gets_what_the_barn_has() {
    if has_rseq() && can_filter() {
        let mut command = child("child_refused_thread_beside_a_full_barn");
        command.env("GLIBC_TUNABLES", "glibc.pthread.rseq=0");
        let out = output(command);
        assert!(out.contains("why=our own registration"), "{out}");
    }
}

/// Whether this machine has rseq at all. Where it has not, nothing can be said of whose area it is.
fn has_rseq() -> bool {
    let has = output(child("child_default")).contains("backend=rseq");
    if !has {
        eprintln!("not run: this machine has no rseq");
    }
    has
}

/// glibc registers areas from 2.35 on.
fn glibc_has_areas() -> bool {
    // SAFETY: looks a public symbol of glibc up by its name.
    !unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr()) }.is_null()
}

#[test]
fn glibc_area_is_used_where_there_is_one() {
    if has_rseq() {
        let out = output(child("child_default_with_early_threads"));
        let owner = if glibc_has_areas() { "glibc's area" } else { "our own registration" };
        assert!(out.contains(&format!("backend=rseq why={owner}")), "{out}");
    }
}

#[test]
fn own_area_is_registered_where_glibc_has_none() {
    if has_rseq() {
        for name in ["child_default", "child_default_with_early_threads"] {
            let mut command = child(name);
            command.env("GLIBC_TUNABLES", "glibc.pthread.rseq=0");
            let out = output(command);
            assert!(out.contains("backend=rseq why=our own registration"), "{out}");
        }
    }
}

#[test]
fn the_environment_forces_a_backend() {
    for kind in [BackendKind::Locked, BackendKind::Virtual] {
        let mut command = child("child_default");
        command.env("HAYBARN_BACKEND", kind.name());
        let out = output(command);
        assert!(out.contains(&format!("backend={kind} why=forced")), "{out}");
    }
    let mut command = child("child_default");
    command.env("HAYBARN_BACKEND", "fastest");
    let done = command.output().unwrap();
    let err = String::from_utf8_lossy(&done.stderr);
    assert!(
        !done.status.success() && err.contains("HAYBARN_BACKEND") && err.contains("rseq, locked or virtual"),
        "{err}"
    );
}

#[test]
fn refused_system_calls_lead_to_locked_and_the_reason() {
    if !can_filter() {
        return;
    }
    for (call, name) in [(libc::SYS_rseq, "rseq"), (libc::SYS_membarrier, "membarrier")] {
        for errno in [libc::EPERM, libc::ENOSYS] {
            let text = std::io::Error::from_raw_os_error(errno).to_string();
            let mut command = child("child_default");
            refuse(&mut command, call, errno);
            let out = output(command);
            assert!(out.contains("backend=locked"), "{out}");
            assert!(out.contains(&format!("why=no rseq: {name} refused: {text}")), "{out}");

            let mut command = child("child_forced_rseq");
            refuse(&mut command, call, errno);
            let out = output(command);
            let refusal = format!("backend rseq is not to be had here: {name} refused: {text}");
            assert!(out.contains(&format!("option={refusal}")), "{out}");
            assert!(out.contains(&format!("environment={refusal}")), "{out}");
        }
    }
}

#[test]
fn forced_rseq_is_rseq_where_it_is_there() {
    if has_rseq() {
        let out = output(child("child_forced_rseq"));
        assert!(out.contains("option=rseq") && out.contains("environment=rseq"), "{out}");
    }
}
