//! Prefilled sheaves, constructors and frees after a grace period under random failures: after every call the identities hold,
//! and what failed has changed nothing that a user can see.

mod injection_help;

use haybarn::fault::{FaultGuard, fail_page_alloc, fail_slab};
use haybarn::{CacheArgs, CacheStats, RawCache, RawPrefilled, SlabFlags, Stat, set_virtual_cpu};
use injection_help::support::counting::*;
use injection_help::support::*;
use injection_help::*;
use std::ptr::{NonNull, null_mut};

/// What a call that failed must leave as it was.
fn seen(stats: &CacheStats) -> (u64, u64, u64, Vec<u64>) {
    let user = [
        Stat::AllocFastpath,
        Stat::AllocSlowpath,
        Stat::AllocPrefilled,
        Stat::FreeFastpath,
        Stat::FreeSlowpath,
        Stat::SheafPrefillFast,
        Stat::SheafPrefillSlow,
        Stat::SheafPrefillOversize,
        Stat::SheafPrefillObjects,
        Stat::SheafReturnFast,
        Stat::SheafReturnSlow,
        Stat::SheafReturnOversize,
        Stat::SheafReturnObjects,
    ];
    (stats.objects, stats.prefilled, stats.in_prefilled, user.map(|stat| stats.get(stat)).into())
}

/// Objects that left the slabs by refills and came back by flushes are in sheaves, in prefilled ones, or were handed out of them.
fn sheaves_balance(cache: RawCache) {
    let stats = cache.stats();
    let get = |stat| i128::from(stats.get(stat));
    let there = i128::from(stats.in_sheaves) + i128::from(stats.in_prefilled);
    let counted = get(Stat::SheafRefill) - get(Stat::SheafFlush) + get(Stat::FreeFastpath)
        - get(Stat::AllocFastpath)
        - get(Stat::AllocPrefilled);
    assert_eq!(there, counted, "{}: {stats:?}", cache.info().name);
}

struct World {
    cache: RawCache,
    held: Vec<NonNull<u8>>,
    out: Vec<RawPrefilled>,
    guards: Vec<FaultGuard>,
    failed: u32,
}

impl World {
    fn unchanged(&mut self, before: &CacheStats) {
        assert_eq!(seen(&self.cache.stats()), seen(before), "{}: a call that failed", self.cache.info().name);
        self.failed += 1;
    }

    /// A spare with a few objects, no others, and no memory: a sheaf that is asked for cannot be filled, and is taken apart.
    fn want_more_than_there_is(&mut self) {
        let (cache, mut sheaf) = (self.cache, self.out.pop().expect("a sheaf"));
        let _nothing = fail_page_alloc(all()).unwrap();
        self.held.extend(std::iter::from_fn(|| cache.alloc(PLAIN)));
        while sheaf.len() > 3 {
            self.held.push(sheaf.alloc(PLAIN).expect("set aside"));
        }
        drop(sheaf);
        let before = cache.stats();
        if let Ok(sheaf) = cache.prefill(PLAIN, cache.info().sheaf_capacity.max(4) as usize) {
            self.out.push(sheaf);
        } else {
            self.unchanged(&before);
        }
    }

    fn step(&mut self, mut random: impl FnMut(usize) -> usize, rcu: bool) {
        let (cache, before) = (self.cache, self.cache.stats());
        if random(8) == 0 {
            set_virtual_cpu(Some(random(4) as u32));
        }
        match random(60) {
            0..8 => match cache.alloc(PLAIN) {
                Some(object) => self.held.push(object),
                None => self.unchanged(&before),
            },
            8..14 if !self.held.is_empty() => give(cache, [self.held.swap_remove(random(self.held.len()))]),
            16..20 => {
                let mut out = vec![null_mut(); 1 + random(120)];
                if cache.alloc_bulk(PLAIN, &mut out) {
                    self.held.extend(out.into_iter().filter_map(NonNull::new));
                } else {
                    self.unchanged(&before);
                }
            }
            20..22 => give_bulk(cache, &self.held.split_off(random(self.held.len() + 1))),
            22..32 => {
                let n = if random(4) == 0 { 1 + random(1500) } else { 1 + random(40) };
                match cache.prefill(PLAIN, n) {
                    Ok(sheaf) => {
                        assert!(sheaf.len() >= n);
                        self.out.push(sheaf);
                    }
                    Err(_) => self.unchanged(&before),
                }
            }
            32..40 if !self.out.is_empty() => {
                let at = random(self.out.len());
                for _ in 0..random(30).min(self.out[at].len()) {
                    let object = self.out[at].alloc(PLAIN).expect("set aside");
                    self.held.push(object);
                }
            }
            40..44 if !self.out.is_empty() => {
                let (at, most) = (random(self.out.len()), if random(4) == 0 { 1500 } else { 60 });
                let n = 1 + random(most);
                let len = self.out[at].len();
                match self.out[at].refill(PLAIN, n) {
                    Ok(()) => assert!(self.out[at].len() >= n),
                    Err(_) => {
                        assert_eq!(self.out[at].len(), len);
                        self.unchanged(&before);
                    }
                }
            }
            44..48 if !self.out.is_empty() => drop(self.out.swap_remove(random(self.out.len()))),
            48 => drop(cache.shrink()),
            49 => cache.validate().unwrap(),
            50 => self.guards.push(fail_page_alloc(often([0.5, 1.0][random(2)])).unwrap()),
            51 => self.guards.push(objects(cache, often(0.3))),
            52 => self.guards.push(fail_slab(None, often(0.2)).unwrap()),
            53..55 if !self.guards.is_empty() => drop(self.guards.swap_remove(random(self.guards.len()))),
            55 if rcu && !self.held.is_empty() => {
                let object = self.held.swap_remove(random(self.held.len()));
                // SAFETY: ours, and forgotten.
                unsafe { cache.free_rcu(object).unwrap() };
            }
            56 if rcu => cache.rcu_barrier().unwrap(),
            57..59 if !self.out.is_empty() => self.want_more_than_there_is(),
            _ => {}
        }
        audit(cache, self.held.len());
        if !rcu {
            sheaves_balance(cache);
        }
    }
}

#[test]
fn what_fails_changes_nothing() {
    let _turn = turn();
    haybarn::service::stop();
    let kinds = |n: u64| match n % 4 {
        0 => (SlabFlags::empty(), false, false),
        1 => (SlabFlags::empty(), true, false),
        2 => (SlabFlags::TYPESAFE_BY_RCU, false, true),
        _ => (SlabFlags::empty(), true, true),
    };
    let seeds = std::env::var("SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_u64);
    for (nth, arena) in every_arena().into_iter().chain(virtual_arenas(4, 2)).enumerate() {
        for seed in 0..4 * seeds {
            let (flags, hooked, rcu) = kinds(seed);
            let hooks = Counting::new();
            let args = if hooked { hooks.args() } else { CacheArgs::default() };
            let capacity = [0, 7, 60][(seed / 2 % 3) as usize];
            let args =
                CacheArgs { flags, count_hits: true, sheaf_capacity: capacity, min_order: (seed % 2) as u8, ..args };
            let cache = create(arena, "random", [512, 4096, 3000][(seed % 3) as usize], &args);
            let mut state = seed * 77 + nth as u64 + 1;
            let mut random = |below: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as usize % below
            };
            let mut world = World { cache, held: Vec::new(), out: Vec::new(), guards: Vec::new(), failed: 0 };
            for step in 0..1500 {
                hooks.fail_after((hooked && step % 7 == 0).then(|| random(40)));
                world.step(&mut random, rcu);
            }
            hooks.fail_after(None);
            world.guards.clear();
            world.out.clear();
            set_virtual_cpu(None);
            assert!(world.failed > 20, "{}", world.failed);
            give(cache, std::mem::take(&mut world.held));
            cache.rcu_barrier().unwrap();
            end(cache);
            assert_eq!(hooks.alive(), 0);
        }
    }
    haybarn::service::allow();
}
