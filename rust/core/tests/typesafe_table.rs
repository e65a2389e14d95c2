//! The hash table of the worked example, with what may happen between two steps of a look-up made to happen there.

#[allow(dead_code, reason = "the example uses all of it")]
#[path = "../../../examples/typesafe_table/table.rs"]
mod table;

mod support;

use haybarn::sync::{Counter, Published};
use haybarn::{AllocFlags, CacheArgs, RawCache, SlabFlags, rcu};
use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::OnceLock;
use support::*;
use table::{FREEPTR_OFFSET, NODE_SIZE, NoMemory, Nodes, Table};

type Happens = Box<dyn Fn() + Send + Sync>;

/// A cache of nodes; what happens once, when a reader has found its key and has no reference yet.
struct Staged<const RECHECK: bool> {
    cache: RawCache,
    happens: OnceLock<Happens>,
    happened: Counter,
}

impl<const RECHECK: bool> Staged<RECHECK> {
    fn table(cache: RawCache) -> &'static Table<Self> {
        // One bucket: every node is in every walk. Leaked, so that what happens may hold it.
        Box::leak(Box::new(Table::new(Self { cache, happens: OnceLock::new(), happened: Counter::new() }, 1)))
    }
}

// SAFETY: `cache()` makes the cache so, and each test has its own.
unsafe impl<const RECHECK: bool> Nodes for Staged<RECHECK> {
    const RECHECK: bool = RECHECK;

    fn alloc(&self) -> Option<NonNull<u8>> {
        self.cache.alloc(AllocFlags::empty())
    }

    unsafe fn free(&self, node: NonNull<u8>) {
        // SAFETY: the caller's word.
        unsafe { self.cache.free(node) };
    }

    fn finds(&self) {
        if self.happened.get() == 0
            && let Some(happens) = self.happens.get()
        {
            self.happened.add(1);
            happens();
        }
    }
}

fn cache(name: &str) -> RawCache {
    let arena = arena(config(haybarn::BackendKind::Locked, haybarn::Form::Packed)).expect("everywhere");
    let flags = SlabFlags::TYPESAFE_BY_RCU;
    create(arena, name, NODE_SIZE, &CacheArgs { flags, freeptr_offset: Some(FREEPTR_OFFSET), ..CacheArgs::default() })
}

/// The node that the reader has found is freed, and is another key's at once.
fn another_key_meanwhile<const RECHECK: bool>() -> Option<(u64, u64)> {
    let table = Staged::<RECHECK>::table(cache("recheck"));
    table.insert(1, 100).unwrap();
    let used_anew: Happens = Box::new(move || {
        assert!(table.remove(1));
        assert_eq!(table.insert(2, 200), Ok(true));
    });
    assert!(table.nodes().happens.set(used_anew).is_ok());
    let found = table.get(1).map(|found| (found.key(), found.value()));
    assert_eq!(table.nodes().happened.get(), 1);
    assert_eq!(table.get(2).map(|found| found.value()), Some(200));
    found
}

#[test]
fn the_recheck_sees_that_a_node_was_used_anew() {
    assert_eq!(another_key_meanwhile::<true>(), None);
}

#[test]
fn without_the_recheck_another_entry_is_found() {
    assert_eq!(another_key_meanwhile::<false>(), Some((2, 200)));
}

#[test]
fn a_key_that_comes_back_in_another_node_is_found() {
    let table = Staged::<true>::table(cache("comes-back"));
    table.insert(1, 100).unwrap();
    let moved: Happens = Box::new(move || {
        assert!(table.remove(1));
        assert_eq!((table.insert(2, 200), table.insert(1, 101)), (Ok(true), Ok(true)));
    });
    assert!(table.nodes().happens.set(moved).is_ok());
    assert_eq!(table.get(1).map(|found| found.value()), Some(101));
}

#[test]
fn what_was_found_stays_when_it_is_removed() {
    let table = Staged::<true>::table(cache("stays"));
    table.insert(1, 100).unwrap();
    let found = table.get(1).expect("just inserted");
    assert!(table.remove(1));
    assert!(!table.remove(1));
    assert_eq!(table.insert(2, 200), Ok(true), "in another node");
    assert_eq!((found.key(), found.value()), (1, 100));
    assert!(table.get(1).is_none());
    drop(found);
    assert_eq!(table.insert(2, 201), Ok(false));
    assert_eq!(table.nodes().cache.stats().objects, 1);
}

#[test]
fn it_is_a_map() {
    let cache = cache("map");
    let table = Table::new(Staged::<true> { cache, happens: OnceLock::new(), happened: Counter::new() }, 7);
    let (mut model, mut random) = (HashMap::new(), 1u64);
    for value in 0..20_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let key = (random >> 33) % 300;
        match random >> 61 {
            0..3 => assert_eq!(table.insert(key, value), Ok(model.insert_new(key, value))),
            3..5 => assert_eq!(table.remove(key), model.remove(&key).is_some()),
            _ => assert_eq!(table.get(key).map(|found| found.value()), model.get(&key).copied()),
        }
        if value % 1000 == 0 {
            let _died = cache.shrink();
        }
    }
    assert_eq!(cache.stats().objects, model.len() as u64);
    assert_eq!(table.clear(), model.len());
    drop(table);
    // SAFETY: the table was the only user.
    unsafe { cache.destroy() }.unwrap();
}

trait InsertNew {
    fn insert_new(&mut self, key: u64, value: u64) -> bool;
}

impl InsertNew for HashMap<u64, u64> {
    fn insert_new(&mut self, key: u64, value: u64) -> bool {
        let is_new = !self.contains_key(&key);
        self.entry(key).or_insert(value);
        is_new
    }
}

#[test]
fn no_memory_leaves_the_table_as_it_was() {
    for (arena, switch) in every_failing_arena() {
        let args = CacheArgs {
            flags: SlabFlags::TYPESAFE_BY_RCU,
            freeptr_offset: Some(FREEPTR_OFFSET),
            ..CacheArgs::default()
        };
        let cache = create(arena, "scarce", NODE_SIZE, &args);
        let table = Table::new(Staged::<true> { cache, happens: OnceLock::new(), happened: Counter::new() }, 16);
        switch.fail_now();
        let mut key = 0;
        while table.insert(key, key).is_ok() {
            key += 1;
        }
        assert_eq!(table.insert(key, key), Err(NoMemory));
        switch.heal();
        assert!((0..key).all(|key| table.get(key).is_some_and(|found| found.value() == key)));
        assert!(table.get(key).is_none());
        assert_eq!(table.clear() as u64, key);
        // SAFETY: the table is empty and not used again.
        unsafe { cache.destroy() }.unwrap();
    }
}

/// Readers and writers on every backend; whatever is found is what was looked for.
#[test]
fn readers_find_only_what_they_look_for() {
    const KEYS: u64 = 64;
    for arena in every_arena() {
        let args = CacheArgs {
            flags: SlabFlags::TYPESAFE_BY_RCU,
            freeptr_offset: Some(FREEPTR_OFFSET),
            ..CacheArgs::default()
        };
        let cache = create(arena, "readers", NODE_SIZE, &args);
        let table = Table::new(Staged::<true> { cache, happens: OnceLock::new(), happened: Counter::new() }, 8);
        let over = Published::new(0);
        std::thread::scope(|threads| {
            for _ in 0..2 {
                threads.spawn(|| {
                    let mut key = 0;
                    while over.read() == 0 {
                        key = (key + 7) % KEYS;
                        if let Some(found) = table.get(key) {
                            assert_eq!((found.key(), found.value()), (key, !key));
                        }
                    }
                });
            }
            for round in 0..20_000 {
                let (out, new) = (round % KEYS, round * 13 % KEYS);
                table.remove(out);
                table.insert(new, !new).expect("memory");
                if round % 1000 == 0 {
                    let _died = cache.shrink();
                }
            }
            over.publish(1);
        });
        table.clear();
        rcu::synchronize().unwrap();
        // SAFETY: the table is empty and not used again.
        unsafe { cache.destroy() }.unwrap();
    }
}
