//! A machine of 192 CPUs on 4 nodes, simulated: real threads that move over virtual CPUs, objects that travel between nodes, and
//! an oracle that knows whose memory each one has to be.

mod support;

use haybarn::{AllocFlags, CacheArgs, RawCache, Stat, set_virtual_cpu};
use std::collections::HashSet;
use std::ptr::NonNull;
use std::sync::{Barrier, Mutex};
use support::by_node::{STRICT, audit_nodes, node};
use support::*;

const CPUS: u32 = 192;
const NODES: u32 = 4;
const THREADS: u64 = 6;
const ROUNDS: u32 = 4;
const STEPS: u32 = 6_000;

/// An object that is held, with what its holder wrote on it.
struct Held {
    object: NonNull<u8>,
    stamp: u64,
}

// SAFETY: memory that any thread may use, and this is its only handle.
unsafe impl Send for Held {}

impl Held {
    fn new(object: NonNull<u8>, stamp: u64, size: usize) -> Self {
        let held = Self { object, stamp };
        held.words(size).for_each(|word| {
            // SAFETY: inside the object, which is ours.
            unsafe { word.write(stamp ^ word.addr() as u64) }
        });
        held
    }

    /// Whether nobody else has written there: then nobody else was given it.
    fn is_whole(&self, size: usize) -> bool {
        // SAFETY: as above.
        self.words(size).all(|word| unsafe { word.read() } == self.stamp ^ word.addr() as u64)
    }

    fn words(&self, size: usize) -> impl Iterator<Item = *mut u64> + use<> {
        let first: *mut u64 = self.object.as_ptr().cast();
        (0..size / 8).map(move |n| first.wrapping_add(n))
    }
}

struct Machine {
    cache: RawCache,
    size: usize,
    /// Objects on their way to whoever frees them, mostly on another node.
    post: Mutex<Vec<Held>>,
    visited: Mutex<HashSet<u32>>,
}

impl Machine {
    fn home(&self, cpu: u32) -> u32 {
        self.cache.arena().node_of_cpu(cpu)
    }

    fn free(&self, held: Held) {
        assert!(held.is_whole(self.size), "an object was somebody else's too");
        // SAFETY: held once, and given up here.
        unsafe { self.cache.free_counted(held.object) };
    }

    /// One thread's part of a round; what it holds at the end.
    fn work(&self, thread: u64, round: u32, live: &mut Vec<Held>) {
        let mut seed = thread << 32 | u64::from(round) << 8 | 1;
        let mut random = move |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        let (mut cpu, mut visited) = (0, HashSet::new());
        for step in 0..STEPS {
            if step % 16 == 0 {
                cpu = random(u64::from(CPUS)) as u32;
                set_virtual_cpu(Some(cpu));
                visited.insert(cpu);
            }
            let stamp = thread << 56 | u64::from(round) << 40 | (u64::from(step) + 1);
            match random(16) {
                0..=5 => {
                    let object = self.cache.alloc_counted(PLAIN).expect("memory");
                    live.push(Held::new(object, stamp, self.size));
                }
                6 | 7 => {
                    let (wanted, strict) = (random(u64::from(NODES)) as u32, random(2) == 0);
                    let object = self.cache.alloc_node(if strict { STRICT } else { PLAIN }, wanted).expect("memory");
                    assert_eq!(node(self.cache, object), wanted, "strict: {strict}");
                    live.push(Held::new(object, stamp, self.size));
                }
                8 => {
                    let object = self.cache.alloc_counted(STRICT | AllocFlags::ZERO).expect("memory");
                    assert_eq!(node(self.cache, object), self.home(cpu), "the CPU's own");
                    live.push(Held::new(object, stamp, self.size));
                }
                9 => {
                    let many = take_bulk(self.cache, random(100) as usize + 1).expect("memory");
                    live.extend(
                        many.into_iter().zip(0..).map(|(object, n)| Held::new(object, stamp ^ n << 24, self.size)),
                    );
                }
                10 if !live.is_empty() => {
                    let from = random(live.len() as u64) as usize;
                    self.post.lock().unwrap().extend(live.drain(from..));
                }
                11 | 12 => {
                    let mut post = self.post.lock().unwrap();
                    let from = post.len() - post.len().min(random(200) as usize);
                    let got: Vec<_> = post.drain(from..).collect();
                    drop(post);
                    got.into_iter().for_each(|held| self.free(held));
                }
                13 if step % 512 == 0 => {
                    let _some = self.cache.shrink();
                }
                _ => {
                    for _ in 0..random(12) {
                        if !live.is_empty() {
                            let held = live.swap_remove(random(live.len() as u64) as usize);
                            self.free(held);
                        }
                    }
                }
            }
        }
        self.visited.lock().unwrap().extend(visited);
    }
}

#[test]
fn a_machine_of_192_cpus_on_4_nodes() {
    for (arena, size) in virtual_arenas(CPUS, NODES).into_iter().zip([192, 1024]) {
        let args = CacheArgs { count_hits: true, sheaf_capacity: 16, ..CacheArgs::default() };
        let cache = create(arena, "machine", size, &args);
        let machine = Machine { cache, size, post: Mutex::default(), visited: Mutex::default() };
        let (machine, quiet) = (&machine, &Barrier::new(THREADS as usize));
        let held = &Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                scope.spawn(move || {
                    let mut live = Vec::new();
                    for round in 0..ROUNDS {
                        machine.work(thread, round, &mut live);
                        held.lock().unwrap().append(&mut live);
                        if quiet.wait().is_leader() {
                            // Nobody is at work: everything must add up, node by node.
                            let (held, post) = (held.lock().unwrap(), machine.post.lock().unwrap());
                            let all: Vec<_> = held.iter().chain(&*post).map(|held| held.object).collect();
                            audit_nodes(cache, &all);
                        }
                        quiet.wait();
                        let mut all = held.lock().unwrap();
                        let share = all.len() / (THREADS - thread) as usize;
                        let from = all.len() - share;
                        live.extend(all.drain(from..));
                        drop(all);
                        quiet.wait();
                    }
                    live.into_iter().for_each(|held| machine.free(held));
                });
            }
        });
        machine.post.lock().unwrap().drain(..).for_each(|held| machine.free(held));
        held.lock().unwrap().drain(..).for_each(|held| machine.free(held));
        assert_eq!(machine.visited.lock().unwrap().len(), CPUS as usize, "every CPU was used");
        audit_nodes(cache, &[]);
        let stats = cache.stats();
        for stat in [Stat::AllocNodeMismatch, Stat::FreeSlowpath, Stat::SheafRefill, Stat::BarnGet, Stat::FreeSlab] {
            assert!(stats.get(stat) > 0, "{}", stat.name());
        }
        assert!(stats.nodes.iter().all(|part| part.slabs > 0), "every node had a part: {:?}", stats.nodes);
        let used = (0..CPUS).filter(|&cpu| stats.per_cpu(cpu, Stat::AllocFastpath) > 0).count();
        assert!(used > 150, "allocations hit on {used} CPUs");
        end(cache);
    }
}
