//! Look-ups without a lock, in a table whose nodes come and go: `cargo run --example typesafe_table [SECONDS] [BACKEND]`.
//!
//! `table.rs` is the worked example; this sets two writers and two readers on it and counts.

mod table;

use haybarn::sync::Counter;
use haybarn::{AllocFlags, Arena, ArenaConfig, BackendKind, CacheArgs, RawCache, SlabFlags, rcu, set_virtual_cpu};
use std::ptr::NonNull;
use std::time::{Duration, Instant};
use table::{FREEPTR_OFFSET, NODE_SIZE, Nodes, Table};

const KEYS: u64 = 50_000;

/// The cache of the table's nodes.
struct TypesafeCache(RawCache);

impl TypesafeCache {
    fn create(arena: &'static Arena) -> Result<Self, haybarn::Error> {
        let flags = SlabFlags::TYPESAFE_BY_RCU;
        let args = CacheArgs { flags, freeptr_offset: Some(FREEPTR_OFFSET), ..CacheArgs::default() };
        RawCache::create(arena, "table-nodes", NODE_SIZE, &args).map(Self)
    }
}

// SAFETY: the cache is private, type-safe, of the right size, and its free pointer is where it shall be.
unsafe impl Nodes for TypesafeCache {
    fn alloc(&self) -> Option<NonNull<u8>> {
        // No ZERO: readers may be looking at what it would wipe.
        self.0.alloc(AllocFlags::empty())
    }

    unsafe fn free(&self, node: NonNull<u8>) {
        // SAFETY: the caller's word.
        unsafe { self.0.free(node) }
    }
}

fn value_of(key: u64) -> u64 {
    !key
}

/// Fills and empties its own half of the keys.
fn write(table: &Table<TypesafeCache>, half: u64, until: Instant) -> u64 {
    let mut changes = 0;
    while Instant::now() < until {
        for key in (half..KEYS).step_by(2) {
            table.insert(key, value_of(key)).expect("memory");
        }
        for key in (half..KEYS).step_by(2) {
            assert!(table.remove(key), "nobody else removes this half");
        }
        changes += KEYS;
    }
    changes
}

/// Looks keys up; whatever is found has to be what was looked for.
fn read(table: &Table<TypesafeCache>, seed: u64, until: Instant) -> (u64, u64) {
    let (mut looked, mut found, mut random) = (0, 0, seed);
    while Instant::now() < until {
        for _ in 0..1000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let key = (random >> 33) % KEYS;
            looked += 1;
            if let Some(entry) = table.get(key) {
                assert_eq!((entry.key(), entry.value()), (key, value_of(key)), "another node than looked for");
                found += 1;
            }
        }
    }
    (looked, found)
}

fn main() -> Result<(), haybarn::Error> {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let backend = arguments.next().map(|name| name.parse::<BackendKind>()).transpose()?;
    let cpus = (backend == Some(BackendKind::Virtual)).then_some(2);
    let arena = Arena::create(ArenaConfig { backend, cpus, ..ArenaConfig::default() })?;
    let table = Table::new(TypesafeCache::create(arena)?, 4096);
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    let (changes, looked, found) = (Counter::new(), Counter::new(), Counter::new());
    std::thread::scope(|threads| {
        for n in 0..2 {
            let (table, changes, looked, found) = (&table, &changes, &looked, &found);
            threads.spawn(move || {
                set_virtual_cpu(cpus.map(|_| n as u32));
                changes.add(write(table, n, until));
            });
            threads.spawn(move || {
                set_virtual_cpu(cpus.map(|_| n as u32));
                let (all, hits) = read(table, n + 1, until);
                looked.add(all);
                found.add(hits);
            });
        }
    });
    let cache = table.nodes().0;
    let stats = cache.stats();
    println!("{} entries changed, {} looked up, {} found", changes.get(), looked.get(), found.get());
    println!("nodes of {NODE_SIZE} bytes every {} bytes", cache.info().slab_size);
    println!("slabs: {} living, {} dead and waiting for readers", stats.slabs, stats.dead_slabs);
    assert_eq!(table.clear(), 0, "each writer removed what it inserted");
    rcu::synchronize()?;
    // SAFETY: the table is empty and not used again.
    unsafe { cache.destroy() }?;
    println!("destroyed: every slab went back after its grace period");
    Ok(())
}
