//! What several test files share: arenas of every kind, and the audit that every quiet cache must pass.
#![allow(dead_code, reason = "each test binary is a crate of its own and uses a part of this")]

pub mod by_node;
pub mod by_size;
pub mod counting;
pub mod late;
pub mod later;
pub mod process;
pub mod signals;

use haybarn::{
    AllocFlags, Arena, ArenaConfig, BackendKind, CacheArgs, CacheStats, Error, FailSwitch, Form, RawCache, SlabFlags,
    Source, Stat, failing_source, set_virtual_cpu,
};
use std::ptr::{NonNull, null_mut};

pub const PLAIN: AllocFlags = AllocFlags::empty();
pub const FORMS: [Form; 2] = [Form::Double, Form::Packed];
pub const BACKENDS: [BackendKind; 3] = BackendKind::ALL;

/// A small range, since arenas live as long as the process and a test makes many.
pub fn config(backend: BackendKind, form: Form) -> ArenaConfig {
    ArenaConfig { backend: Some(backend), form: Some(form), reserve: 2 << 30, ..ArenaConfig::default() }
}

/// An arena, or `None` where this machine does not have the backend or form, which is then said.
pub fn arena(config: ArenaConfig) -> Option<&'static Arena> {
    match Arena::create(config) {
        Ok(arena) => Some(arena),
        Err(error @ Error::Unavailable { .. }) => {
            eprintln!("not run: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// One arena of each backend and form; virtual ones have two CPUs on one node.
pub fn every_arena() -> Vec<&'static Arena> {
    every_arena_with(|| Source::Anonymous)
}

pub fn every_arena_with(source: impl Fn() -> Source) -> Vec<&'static Arena> {
    let mut made = Vec::new();
    for backend in BACKENDS {
        for form in FORMS {
            let cpus = (backend == BackendKind::Virtual).then_some(2);
            made.extend(arena(ArenaConfig { cpus, source: source(), ..config(backend, form) }));
        }
    }
    made
}

/// One arena of each backend and form with a source that can be made to fail.
pub fn every_failing_arena() -> Vec<(&'static Arena, FailSwitch)> {
    let mut made = Vec::new();
    for backend in BACKENDS {
        for form in FORMS {
            let (source, switch) = failing_source();
            let cpus = (backend == BackendKind::Virtual).then_some(2);
            let arena = arena(ArenaConfig { cpus, source, ..config(backend, form) });
            made.extend(arena.map(|arena| (arena, switch)));
        }
    }
    made
}

/// Virtual CPUs on nodes, in both forms.
pub fn virtual_arenas(cpus: u32, nodes: u32) -> Vec<&'static Arena> {
    let made = FORMS.map(|form| arena(ArenaConfig { cpus: Some(cpus), nodes, ..config(BackendKind::Virtual, form) }));
    made.into_iter().flatten().collect()
}

pub fn create(arena: &'static Arena, name: &str, size: usize, args: &CacheArgs) -> RawCache {
    RawCache::create(arena, name, size, args).unwrap()
}

pub fn take(cache: RawCache) -> NonNull<u8> {
    cache.alloc(PLAIN).expect("memory")
}

pub fn take_many(cache: RawCache, count: usize) -> Vec<NonNull<u8>> {
    (0..count).map(|_| take(cache)).collect()
}

/// Frees objects that the test owns.
pub fn give(cache: RawCache, objects: impl IntoIterator<Item = NonNull<u8>>) {
    for object in objects {
        // SAFETY: the callers of this file own what they pass.
        unsafe { cache.free(object) };
    }
}

pub fn give_bulk(cache: RawCache, objects: &[NonNull<u8>]) {
    let mut objects: Vec<_> = objects.iter().map(|object| object.as_ptr()).collect();
    // SAFETY: as in `give`.
    unsafe { cache.free_bulk(&mut objects) };
}

pub fn take_bulk(cache: RawCache, count: usize) -> Option<Vec<NonNull<u8>>> {
    let mut objects = vec![null_mut(); count];
    let got = cache.alloc_bulk(PLAIN, &mut objects);
    got.then(|| objects.into_iter().map(|object| NonNull::new(object).expect("filled")).collect())
}

/// Allocates until memory is out, on every CPU in turn, virtual or real: each one's sheaves hold what only it can take.
pub fn take_all(cache: RawCache) -> Vec<NonNull<u8>> {
    let mut objects = Vec::new();
    for cpu in 0..cache.arena().cpus() {
        set_virtual_cpu(Some(cpu));
        let _stay = Pinned::to(cpu);
        objects.extend(std::iter::from_fn(|| cache.alloc(PLAIN)));
    }
    set_virtual_cpu(None);
    objects
}

/// Sheaves that the counters say are alive.
pub fn sheaves(stats: &CacheStats) -> u64 {
    stats.get(Stat::SheafAlloc) - stats.get(Stat::SheafFree)
}

/// The counters at a moment at which no slab is half-way through the service thread's hands.
fn quiet_stats(cache: RawCache) -> CacheStats {
    for _ in 0..1_000_000 {
        let stats = cache.stats();
        let died = stats.get(Stat::FreeSlab) + stats.get(Stat::ShrinkSlab);
        let (waiting, reaped) = (stats.dead_slabs, stats.get(Stat::ReapSlab));
        let defers = cache.info().flags.contains(SlabFlags::TYPESAFE_BY_RCU) || waiting + reaped > 0;
        if !defers || waiting + reaped == died {
            return stats;
        }
        std::thread::yield_now();
    }
    cache.stats()
}

/// The conservation identities of a quiet cache with `live` objects handed out (K§6.1, I2, E7).
pub fn audit(cache: RawCache, live: usize) {
    let (info, stats, arena) = (cache.info(), quiet_stats(cache), cache.arena());
    let who = format!("{} on {} ({:?}), {stats:?}", info.name, info.backend, arena.info().form);
    // What waits for readers is not in use any more, but nobody may have it either.
    let live = live as u64;
    assert_eq!(stats.objects, live + stats.rcu_pending, "objects handed out: {who}");
    assert_eq!(stats.rcu_pending, cache.rcu_pending(), "objects that wait for readers: {who}");
    // An object is with its user, in a sheaf, or free in a slab. The last are counted by who takes them: see `exhaust`.
    assert!(stats.in_sheaves + stats.in_prefilled + stats.objects <= stats.total_objects, "total: {who}");
    // Every sheaf that went out comes back under one counter; what it took along was taken, came back, or is still in it.
    let sum = |stats_: &[Stat]| stats_.iter().map(|&stat| stats.get(stat)).sum::<u64>();
    let out = sum(&[Stat::SheafPrefillFast, Stat::SheafPrefillSlow, Stat::SheafPrefillOversize]);
    let back = sum(&[Stat::SheafReturnFast, Stat::SheafReturnSlow, Stat::SheafReturnOversize]);
    assert_eq!(out - back, stats.prefilled, "prefilled sheaves out: {who}");
    let gone = sum(&[Stat::AllocPrefilled, Stat::SheafReturnObjects]);
    assert_eq!(stats.get(Stat::SheafPrefillObjects) - gone, stats.in_prefilled, "objects in them: {who}");
    assert!(stats.prefilled > 0 || stats.in_prefilled == 0, "objects in prefilled sheaves that are not there: {who}");
    let slabs = stats.get(Stat::AllocSlab) - stats.get(Stat::FreeSlab) - stats.get(Stat::ShrinkSlab);
    assert_eq!(slabs, stats.slabs, "slabs made and gone: {who}");
    // Dead slabs are no slabs any more; of a cache that defers deaths each is reaped or still waits.
    let (died, reaped) = (stats.get(Stat::FreeSlab) + stats.get(Stat::ShrinkSlab), stats.get(Stat::ReapSlab));
    let defers = info.flags.contains(SlabFlags::TYPESAFE_BY_RCU) || reaped + stats.dead_slabs > 0;
    assert_eq!(reaped + stats.dead_slabs, if defers { died } else { 0 }, "slabs reaped and waiting: {who}");
    assert!(stats.partial <= stats.slabs, "partial: {who}");
    if stats.get(Stat::OrderFallback) == 0 {
        assert_eq!(stats.total_objects, slabs * u64::from(info.objs_per_slab), "objects of slabs: {who}");
    }
    // Constructed and not destructed: the objects of living slabs, and of dead ones whose destructors have not run.
    let constructed = stats.get(Stat::CtorObject);
    if constructed > 0 {
        let ended = stats.get(Stat::DtorObject);
        let dead = stats.dead_slabs * u64::from(info.objs_per_slab);
        let alive = constructed - ended;
        assert!((stats.total_objects..=stats.total_objects + dead).contains(&alive), "{constructed} - {ended}: {who}");
    }
    if info.counts_hits {
        let allocated = sum(&[Stat::AllocFastpath, Stat::AllocSlowpath, Stat::AllocPrefilled]);
        let by_rcu = stats.get(Stat::FreeRcuSheaf) + stats.get(Stat::FreeRcuSheafFail);
        let freed = stats.get(Stat::FreeFastpath) + stats.get(Stat::FreeSlowpath) + by_rcu;
        assert_eq!(allocated.wrapping_sub(freed), live, "allocated - freed: {who}");
    }
    // Every CPU has a main sheaf and may have a spare; the others are in barns or wait for readers.
    let mains = if info.sheaf_capacity == 0 { 0 } else { u64::from(arena.cpus()) };
    let known = mains + stats.barn.0 + stats.barn.1 + stats.prefilled + stats.rcu_sheaves;
    assert!((known..=known + mains).contains(&sheaves(&stats)), "sheaves alive {}: {who}", sheaves(&stats));
}

/// After a drain of all CPUs there are no spares: the count of sheaves is exact. Also checks every free list.
pub fn audit_drained(cache: RawCache, live: usize) {
    assert_eq!(cache.validate(), Ok(()));
    audit(cache, live);
    let (info, stats) = (cache.info(), cache.stats());
    let mains = if info.sheaf_capacity == 0 { 0 } else { u64::from(cache.arena().cpus()) };
    let known = mains + stats.barn.0 + stats.barn.1 + stats.prefilled + stats.rcu_sheaves;
    assert_eq!(sheaves(&stats), known, "{}: {stats:?}", info.name);
}

/// With no memory to be had, exactly the free objects of slabs and sheaves can still be allocated: `total_objects` less
/// those handed out. Sheaves of other CPUs are emptied into the slabs first. The switch is the arena's; it is healed after.
pub fn exhaust(cache: RawCache, switch: &FailSwitch, live: usize) {
    audit_drained(cache, live);
    let stats = cache.stats();
    let free = (stats.total_objects - stats.in_prefilled) as usize - live;
    switch.fail_now();
    let rest = take_all(cache);
    switch.heal();
    assert_eq!(rest.len(), free, "{}: free objects that could be taken", cache.info().name);
    audit(cache, live + free);
    give(cache, rest);
    audit(cache, live);
}

/// Keeps this thread on one CPU, until dropped.
pub struct Pinned(libc::cpu_set_t);

impl Pinned {
    /// A CPU that this thread may not run on (or that is only a virtual one) changes nothing: no sheaf of it can hold anything
    /// of ours then.
    pub fn to(cpu: u32) -> Self {
        // SAFETY: the sets are this frame's, and plain bits.
        unsafe {
            let (mut before, mut there): (libc::cpu_set_t, libc::cpu_set_t) = core::mem::zeroed();
            assert_eq!(libc::sched_getaffinity(0, size_of_val(&before), &raw mut before), 0);
            libc::CPU_SET(cpu as usize, &mut there);
            libc::sched_setaffinity(0, size_of_val(&there), &raw const there);
            Self(before)
        }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { libc::sched_setaffinity(0, size_of_val(&self.0), &raw const self.0) };
    }
}

/// Ends a cache from which nothing is handed out; nothing stays.
pub fn end(cache: RawCache) {
    audit_drained(cache, 0);
    let (mains, stats) = (if cache.info().sheaf_capacity == 0 { 0 } else { cache.arena().cpus() }, cache.stats());
    assert_eq!(cache.shrink(), stats.slabs, "{}: {stats:?}", cache.info().name);
    let after = cache.stats();
    assert_eq!((after.slabs, after.total_objects, after.in_sheaves, after.barn), (0, 0, 0, (0, 0)), "{after:?}");
    assert_eq!(sheaves(&after), u64::from(mains), "{after:?}");
    // SAFETY: the test is done with it.
    unsafe { cache.destroy() }.unwrap();
}

/// Runs in a forked child and returns its exit code (256 + signal if one killed it). The child neither unwinds nor runs exit
/// handlers; it may not wait for other threads' locks, so nothing in it may panic or print.
pub fn in_child(body: impl FnOnce() -> i32) -> i32 {
    // SAFETY: see above; callers keep to it.
    unsafe {
        let pid = libc::fork();
        assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
        if pid == 0 {
            // A hang is a failure: the alarm ends it, also on a service thread, which has all signals blocked.
            let mut alarm = core::mem::zeroed();
            libc::sigaddset(&raw mut alarm, libc::SIGALRM);
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const alarm, null_mut());
            libc::alarm(60);
            libc::_exit(body());
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &mut status, 0), pid);
        if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 256 + libc::WTERMSIG(status) }
    }
}
