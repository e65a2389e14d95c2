//! Nodes on every backend: fake ones, requests for a node's memory, frees that come from elsewhere, refills that go elsewhere.

mod support;

use haybarn::{Arena, ArenaConfig, BackendKind, CacheArgs, Error, RawCache, Stat, set_virtual_cpu};
use std::ptr::NonNull;
use support::by_node::{STRICT, audit_nodes, node};
use support::process::{child, is_child, output};
use support::*;

fn counted() -> CacheArgs {
    CacheArgs { count_hits: true, ..CacheArgs::default() }
}

/// An arena of each backend and form with so many fake nodes; eight CPUs where they are virtual.
fn arenas(nodes: u32) -> Vec<&'static Arena> {
    let mut made = Vec::new();
    for backend in BACKENDS {
        for form in FORMS {
            let cpus = (backend == BackendKind::Virtual).then_some(8);
            made.extend(arena(ArenaConfig { cpus, nodes, ..config(backend, form) }));
        }
    }
    made
}

/// Puts the thread on a CPU of a node, where it may run on one.
fn stay_on(arena: &Arena, node: u32) -> Option<Pinned> {
    let cpu = (0..arena.cpus()).find(|&cpu| arena.node_of_cpu(cpu) == node)?;
    set_virtual_cpu(Some(cpu));
    let pinned = Pinned::to(cpu);
    // SAFETY: no memory of ours.
    let here = unsafe { libc::sched_getcpu() };
    (arena.backend() == BackendKind::Virtual || here == cpu as i32).then_some(pinned)
}

/// As many slabs of a node with one object in use each; these objects.
fn scattered(cache: RawCache, node: u32, slabs: usize) -> Vec<NonNull<u8>> {
    let per_slab = cache.info().objs_per_slab as usize;
    let all: Vec<_> = (0..per_slab * slabs).map(|_| cache.alloc_node(STRICT, node).unwrap()).collect();
    let (pins, rest): (Vec<_>, Vec<_>) = all.into_iter().enumerate().partition(|(n, _)| n % per_slab == 0);
    give(cache, rest.into_iter().map(|(_, object)| object));
    pins.into_iter().map(|(_, object)| object).collect()
}

#[test]
fn every_backend_has_fake_nodes() {
    for arena in arenas(3) {
        assert_eq!((arena.nodes(), arena.info().nodes), (3, 3));
        assert!(arena.info().nodes_why.starts_with("fake (asked for)"), "{}", arena.info().nodes_why);
        let of_cpu: Vec<u32> = (0..arena.cpus()).map(|cpu| arena.node_of_cpu(cpu)).collect();
        match arena.backend() {
            BackendKind::Virtual => assert_eq!(of_cpu, [0, 0, 0, 1, 1, 1, 2, 2], "neighbours share a node"),
            _ => assert!((0..).zip(&of_cpu).all(|(cpu, &node)| node == cpu % 3), "in turn: {of_cpu:?}"),
        }
        assert_eq!(arena.node_of_cpu(u32::MAX), 0);
    }
    for nodes in [65, u32::MAX] {
        for backend in BACKENDS {
            match Arena::create(ArenaConfig { nodes, ..config(backend, FORMS[1]) }) {
                Err(Error::BadArgument { argument: "nodes", legal, .. }) => assert_eq!(legal, "1 to 64"),
                Err(Error::Unavailable { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn child_reads_the_variable() {
    if is_child() {
        let arena = Arena::global();
        let beside = arena.as_ref().map(|_| Arena::create(ArenaConfig { nodes: 1, ..ArenaConfig::default() }).unwrap());
        match arena {
            Ok(arena) => println!("{} nodes, {}; {}", arena.nodes(), arena.info().nodes_why, beside.unwrap().nodes()),
            Err(error) => println!("{error}"),
        }
    }
}

#[test]
fn the_variable_makes_nodes_for_every_arena_that_does_not_say() {
    let with = |value: &str, backend: &str| {
        let mut command = child("child_reads_the_variable");
        command.env("HAYBARN_FAKE_NODES", value).env("HAYBARN_BACKEND", backend);
        output(command)
    };
    for backend in ["locked", "virtual"] {
        let said = with("5", backend);
        assert!(said.contains("5 nodes, fake (HAYBARN_FAKE_NODES): ") && said.contains("; 1\n"), "{said}");
        assert!(with("64", backend).contains("64 nodes, "));
        assert!(!with("", backend).contains("fake (HAY"), "empty is unset");
        for bad in ["0", "65", "-1", "two", "2.0", " 3"] {
            let said = with(bad, backend);
            assert!(said.contains("HAYBARN_FAKE_NODES") && said.contains("1 to 64"), "{bad}: {said}");
        }
    }
}

#[test]
fn a_request_gets_its_nodes_memory() {
    for arena in arenas(4) {
        let cache = create(arena, "requests", 192, &counted());
        let mut held = Vec::new();
        for round in 0..200_u32 {
            set_virtual_cpu(Some(round % 8));
            for wanted in 0..4 {
                let object = cache.alloc_node(STRICT, wanted).expect("memory");
                assert_eq!(node(cache, object), wanted);
                held.push(object);
                let wish = cache.alloc_node(PLAIN, wanted).expect("memory");
                assert_eq!(node(cache, wish), wanted, "there is memory: a wish is granted");
                held.push(wish);
            }
            assert_eq!(
                node(cache, cache.alloc_node(STRICT, 7).inspect(|&object| held.push(object)).unwrap()),
                3,
                "wraps"
            );
            if round % 3 == 0 {
                let half = held.len() / 2;
                give(cache, held.drain(..half));
            }
        }
        audit_nodes(cache, &held);
        assert!(cache.stats().get(Stat::AllocNodeMismatch) > 0);
        give(cache, held);
        end(cache);
    }
}

/// Whatever the sheaves hold, THISNODE gives objects of the CPU's own node, by every way to allocate.
#[test]
fn thisnode_without_a_node_is_the_cpus_own() {
    for arena in arenas(2) {
        for count_hits in [false, true] {
            let cache = create(arena, "own", 256, &CacheArgs { count_hits, ..CacheArgs::default() });
            let Some(_stay) = stay_on(arena, 0) else { continue };
            // Partial slabs of node 1, which a refill of node 0 lends: then node 0's sheaves are full of foreign objects.
            let mut far = scattered(cache, 1, 100);
            let foreign = (0..400).map(|_| take(cache)).filter(|&object| {
                far.push(object);
                node(cache, object) == 1
            });
            assert!(foreign.count() > 300, "refills lend");
            let mut own: Vec<_> = (0..300).map(|_| cache.alloc_counted(STRICT).expect("memory")).collect();
            own.extend((0..300).map(|_| cache.alloc(STRICT).expect("memory")));
            let mut many = vec![std::ptr::null_mut(); 700];
            assert!(cache.alloc_bulk(STRICT, &mut many));
            own.extend(many.into_iter().map(|object| NonNull::new(object).unwrap()));
            let mut sheaf = cache.prefill(STRICT, 20).unwrap();
            own.extend(std::iter::from_fn(|| sheaf.alloc(PLAIN)));
            drop(sheaf);
            assert!(own.iter().all(|&object| node(cache, object) == 0));
            own.append(&mut far);
            audit_nodes(cache, &own);
            give(cache, own);
            end(cache);
        }
    }
}

#[test]
fn what_comes_from_another_node_goes_to_its_slab() {
    for arena in arenas(2) {
        let cache = create(arena, "remote", 128, &counted());
        let Some(_stay) = stay_on(arena, 0) else { continue };
        let far: Vec<_> = (0..500).map(|_| cache.alloc_node(STRICT, 1).unwrap()).collect();
        let near: Vec<_> = (0..50).map(|_| cache.alloc_node(STRICT, 0).unwrap()).collect();
        let before = cache.stats();
        give(cache, far);
        let after = cache.stats();
        let moved = |stat| after.get(stat) - before.get(stat);
        assert_eq!((moved(Stat::FreeSlowpath), moved(Stat::FreeFastpath)), (500, 0));
        assert_eq!(after.in_sheaves, before.in_sheaves);
        give(cache, near);
        assert_eq!(cache.stats().get(Stat::FreeFastpath) - after.get(Stat::FreeFastpath), 50, "those go to sheaves");
        audit_nodes(cache, &[]);
        // The same in bulk.
        let mut mixed: Vec<_> = (0..400).map(|n| cache.alloc_node(STRICT, n % 2).unwrap()).collect();
        mixed.rotate_left(100);
        let before = cache.stats();
        give_bulk(cache, &mixed);
        let after = cache.stats();
        let (slow, fast) =
            [Stat::FreeSlowpath, Stat::FreeFastpath].map(|stat| after.get(stat) - before.get(stat)).into();
        assert_eq!(slow + fast, 400);
        assert!(slow >= 200 && fast > 0, "{slow} {fast}");
        let foreign = cache.objects_of_node(1).in_sheaves;
        assert_eq!(foreign, 0, "no sheaf has an object of node 1");
        end(cache);
    }
}

#[test]
fn the_ratio_says_how_often_a_refill_lends() {
    for arena in arenas(2) {
        let Some(_stay) = stay_on(arena, 0) else { continue };
        for percent in [0, 50, 100] {
            // Whole slabs go into a sheaf, so that node 0 never has a partial one and each refill comes to the gate once.
            let cache = create(arena, "lends", 1024, &CacheArgs { sheaf_capacity: 32, ..counted() });
            assert_eq!(cache.info().sheaf_capacity % cache.info().objs_per_slab, 0);
            assert_eq!(cache.remote_node_defrag_ratio(), 100, "Linux's default");
            cache.set_remote_node_defrag_ratio(percent).unwrap();
            assert_eq!(cache.remote_node_defrag_ratio(), percent);
            let mut own = scattered(cache, 1, 6000);
            let made = cache.stats().get(Stat::AllocSlab);
            let refilled = cache.stats().get(Stat::SheafRefill);
            let mut lent = 0;
            for _ in 0..1024 {
                let sheaf = take_many(cache, 32);
                lent += u32::from(node(cache, sheaf[0]) == 1);
                own.extend(sheaf);
            }
            assert_eq!(cache.stats().get(Stat::SheafRefill) - refilled, 1024 * 32, "a refill for each sheaf");
            let slabs = cache.stats().get(Stat::AllocSlab) - made;
            let expected = if percent == 0 { 0 } else { percent * 10 + 1 };
            assert_eq!(lent, expected, "{percent} per cent of 1024 refills, by K§2.4: no when n % 1024 > ratio");
            assert!(slabs >= u64::from(1024 - lent));
            audit_nodes(cache, &own);
            give(cache, own);
            end(cache);
        }
        let cache = create(arena, "refused", 64, &CacheArgs::default());
        for percent in [101, u32::MAX] {
            match cache.set_remote_node_defrag_ratio(percent) {
                Err(Error::BadArgument { argument: "remote_node_defrag_ratio", cache, .. }) => {
                    assert_eq!(cache, "refused")
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(cache.remote_node_defrag_ratio(), 100);
        end(cache);
    }
}

/// A node that lends keeps min_partial slabs for itself.
#[test]
fn nodes_with_few_partial_slabs_lend_nothing() {
    for arena in arenas(2) {
        let Some(_stay) = stay_on(arena, 0) else { continue };
        let cache = create(arena, "few", 1024, &counted());
        let (per_slab, keep) = (cache.info().objs_per_slab as usize, cache.info().min_partial as usize);
        let mut held = scattered(cache, 1, keep);
        assert_eq!(cache.stats().nodes[1].partial, keep as u64);
        for _ in 0..10 * per_slab {
            let object = take(cache);
            assert_eq!(node(cache, object), 0);
            held.push(object);
        }
        audit_nodes(cache, &held);
        give(cache, held);
        end(cache);
    }
}

/// When the range is full, THISNODE fails although other nodes have pages; a wish is served by them, and the slab is theirs.
#[test]
fn a_node_whose_pages_are_out() {
    for backend in BACKENDS {
        let cpus = (backend == BackendKind::Virtual).then_some(2);
        // Two chunks: one for each node.
        let small = ArenaConfig { cpus, nodes: 2, reserve: 64 << 20, ..config(backend, FORMS[1]) };
        let Some(arena) = arena(small) else { continue };
        let cache = create(arena, "out", 4096, &CacheArgs { sheaf_capacity: 1, ..counted() });
        let mut held = vec![cache.alloc_node(STRICT, 0).unwrap()];
        // Node 1 takes all chunks that are left.
        held.extend(std::iter::from_fn(|| cache.alloc_node(STRICT, 1)));
        assert!(held.len() > 10_000 && held[1..].iter().all(|&object| node(cache, object) == 1));
        assert!(cache.alloc_node(STRICT, 1).is_none(), "node 0 has pages still");
        let lent = cache.alloc_node(PLAIN, 1).expect("node 0's pages");
        assert_eq!(node(cache, lent), 0);
        held.push(lent);
        assert_eq!(node(cache, cache.alloc_node(STRICT, 0).inspect(|&object| held.push(object)).unwrap()), 0);
        held.extend(std::iter::from_fn(|| cache.alloc(PLAIN)));
        assert!(cache.alloc_node(PLAIN, 0).is_none() && cache.alloc_node(PLAIN, 1).is_none());
        audit_nodes(cache, &held);
        give(cache, held);
        end(cache);
    }
}
