#![forbid(unsafe_code)]

use super::{Counts, Op, Origin, Plan};
use crate::trace::{Event, Kind, NameId, Trace};

struct Tape {
    trace: Trace,
}

impl Tape {
    fn new() -> Self {
        Tape { trace: Trace { starts: vec![0], ..Trace::default() } }
    }

    fn push(&mut self, kind: Kind, name: &str, pointer: u64, sizes: (u32, u32), cpu: u16) -> &mut Self {
        let name = if name.is_empty() { NameId::NONE } else { self.trace.names.intern(name) };
        let (bytes_req, bytes_alloc) = sizes;
        self.trace.events.push(Event { kind, accounted: cpu == 9, cpu, name, pointer, bytes_req, bytes_alloc });
        self
    }

    fn plan(&self) -> Plan {
        Plan::new(&self.trace)
    }
}

fn op(object: u32, cpu: u16, free: bool) -> Op {
    Op { object, cpu, free }
}

#[test]
fn a_free_counts_for_the_cache_that_allocated() {
    let mut tape = Tape::new();
    tape.push(Kind::CacheAlloc, "maple_node", 1, (256, 256), 0).push(Kind::Kmalloc, "", 2, (40, 64), 0);
    tape.push(Kind::Kfree, "", 1, (0, 0), 1).push(Kind::CacheFree, "other", 2, (0, 0), 1);
    let plan = tape.plan();
    let counts: Vec<_> = plan.caches.iter().map(|cache| (cache.name.as_str(), cache.allocs, cache.frees)).collect();
    assert_eq!(counts, [("maple_node", 1, 1), ("kmalloc-64", 1, 1)]);
    assert_eq!(plan.ops, [op(0, 0, false), op(1, 0, false), op(0, 1, true), op(1, 1, true)]);
    assert_eq!(plan.counts, Counts::default());
}

#[test]
fn a_live_pointer_that_is_allocated_again_frees_the_old_object() {
    let mut tape = Tape::new();
    tape.push(Kind::CacheAlloc, "a", 1, (8, 8), 0).push(Kind::CacheAlloc, "b", 1, (16, 16), 3);
    let plan = tape.plan();
    assert_eq!(plan.ops, [op(0, 0, false), op(0, 3, true), op(1, 3, false)]);
    assert_eq!(plan.counts, Counts { implied_frees: 1, ..Counts::default() });
    assert_eq!((plan.caches[0].live(), plan.caches[1].live()), (0, 1));
}

#[test]
fn null_unknown_and_failed_are_counted_and_not_replayed() {
    let mut tape = Tape::new();
    tape.push(Kind::Kfree, "", 0, (0, 0), 0).push(Kind::CacheFree, "a", 5, (0, 0), 0);
    tape.push(Kind::CacheAlloc, "a", 0, (8, 8), 0).push(Kind::Kfree, "", 0, (0, 0), 0);
    let plan = tape.plan();
    assert_eq!(plan.counts, Counts { null_frees: 2, unmatched_frees: 1, failed_allocs: 1, implied_frees: 0 });
    assert!(plan.ops.is_empty() && plan.caches.is_empty());
}

#[test]
fn caches_get_their_names_sizes_and_peaks() {
    let mut tape = Tape::new();
    tape.push(Kind::CacheAlloc, "bio-184", 1, (184, 192), 0).push(Kind::CacheAlloc, "bio-184", 2, (100, 192), 0);
    tape.push(Kind::CacheFree, "bio-184", 1, (0, 0), 0).push(Kind::CacheAlloc, "bio-184", 3, (150, 200), 0);
    tape.push(Kind::Kmalloc, "", 4, (1000, 1024), 9).push(Kind::Kmalloc, "", 5, (9000, 16384), 0);
    tape.push(Kind::CacheAlloc, "kmalloc-cg-1k", 6, (1024, 1024), 0);
    let plan = tape.plan();
    let bio = &plan.caches[0];
    assert_eq!((bio.bytes_req, bio.bytes_alloc, bio.peak_objects), (184, 200, 2));
    let rest: Vec<_> = plan.caches[1..].iter().map(|cache| (cache.name.as_str(), cache.origin, cache.allocs)).collect();
    assert_eq!(rest, [("kmalloc-cg-1k", Origin::Kmalloc(1024), 2), ("kmalloc-large", Origin::Large, 1)]);
}

#[test]
fn pointers_of_two_files_are_not_the_same() {
    let mut tape = Tape::new();
    tape.push(Kind::CacheAlloc, "a", 1, (8, 8), 0).push(Kind::CacheAlloc, "a", 1, (8, 8), 4);
    tape.trace.starts = vec![0, 1];
    let mut plan = tape.plan();
    assert_eq!((plan.counts.implied_frees, plan.caches[0].live()), (0, 2));
    assert_eq!(plan.cpus(), [0, 4]);
    plan.place(|index, cpu| cpu % 4 + index as u16);
    assert_eq!(plan.cpus(), [0, 1]);
}
