//! What the tree of attributes says of a cache's counters, slabs, objects and names, against what is known to be there.

mod support;

use haybarn::sysfs::{self, Errno, Value, listdir, read, readlink, write};
use haybarn::{AllocFlags, Arena, BackendKind, CacheArgs, CacheName, CacheStorage, Form, SlabFlags, Stat};
use support::*;

#[test]
fn counters_are_shown_by_cpu_and_cleared_for_those_who_look() {
    for arena in virtual_arenas(4, 1) {
        let cache = create(arena, "frame", 192, &CacheArgs::default());
        let mut objects = Vec::new();
        for cpu in [1, 3] {
            haybarn::set_virtual_cpu(Some(cpu));
            objects.extend(take_many(cache, 100 * cpu as usize));
        }
        let stats = cache.stats();
        let of = |cpu| stats.per_cpu(cpu, Stat::AllocFastpath);
        assert!(of(0) + of(2) == 0 && of(1) > 0 && of(3) > 0);
        let path = "/frame/alloc_fastpath";
        assert_eq!(read(arena, path), Ok(format!("{} C1={} C3={}\n", of(1) + of(3), of(1), of(3))));
        assert_eq!(write(arena, path, "1").unwrap_err().errno, Errno::Invalid);
        write(arena, path, "0").unwrap();
        assert_eq!(read(arena, path).as_deref(), Ok("0\n"));
        objects.extend(take_many(cache, 7));
        let more = cache.stats().per_cpu(3, Stat::AllocFastpath) - of(3);
        assert_eq!(read(arena, path), Ok(format!("{more} C3={more}\n")));
        // What the cache holds is computed from what was not cleared.
        write(arena, "/frame/sheaf_refill", "0").unwrap();
        audit(cache, objects.len());
        haybarn::set_virtual_cpu(None);
        give(cache, objects);
        end(cache);
        // A cache that comes after it, most likely in its memory, begins anew.
        let next = create(arena, "frame", 192, &CacheArgs::default());
        assert_eq!(read(arena, path).as_deref(), Ok("0\n"));
        let object = take(next);
        assert_ne!(read(arena, "/frame/sheaf_refill").as_deref(), Ok("0\n"));
        give(next, [object]);
        end(next);
    }
}

/// Total and shares of a counting attribute.
fn nodes(arena: &'static Arena, name: &str) -> Vec<u64> {
    match sysfs::open(arena, &format!("/frame/{name}")).unwrap().value().unwrap() {
        Value::Nodes { total, nodes } => {
            assert_eq!(total, nodes.iter().sum::<u64>());
            nodes
        }
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn what_slabs_hold_is_shown_by_node() {
    for arena in virtual_arenas(4, 2) {
        // Without sheaves an object is with its user or free in its slab.
        let args = CacheArgs { flags: SlabFlags::NOLEAKTRACE, ..CacheArgs::default() };
        let cache = create(arena, "frame", 192, &args);
        let per_slab = u64::from(cache.info().objs_per_slab);
        let mut objects = Vec::new();
        for (node, count) in [(0, 3 * per_slab + 2), (1, per_slab + 1)] {
            for _ in 0..count {
                objects.push((node, cache.alloc_node(AllocFlags::THISNODE, node).unwrap()));
            }
        }
        assert_eq!(nodes(arena, "slabs"), [4, 2]);
        assert_eq!(nodes(arena, "total_objects"), [4 * per_slab, 2 * per_slab]);
        assert_eq!(nodes(arena, "objects"), [3 * per_slab + 2, per_slab + 1]);
        assert_eq!(nodes(arena, "partial"), [1, 1]);
        assert_eq!(nodes(arena, "objects_partial"), [2, 1]);
        assert_eq!(read(arena, "/frame/partial").as_deref(), Ok("2 N0=1 N1=1\n"));
        // One object of each full slab of node 0.
        for n in 0..3 {
            let at =
                objects.iter().position(|&(node, _)| node == 0).unwrap() + n as usize * per_slab as usize - n as usize;
            let (_, object) = objects.remove(at);
            give(cache, [object]);
        }
        assert_eq!(nodes(arena, "partial"), [4, 1]);
        assert_eq!(nodes(arena, "objects"), [3 * per_slab - 1, per_slab + 1]);
        assert_eq!(nodes(arena, "objects_partial"), [3 * per_slab - 1, 1]);
        give(cache, objects.into_iter().map(|(_, object)| object));
        write(arena, "/frame/shrink", "1").unwrap();
        assert_eq!(read(arena, "/frame/total_objects").as_deref(), Ok("0\n"));
        end(cache);
    }
}

#[test]
fn objects_in_sheaves_show_as_used_as_in_linux() {
    for arena in every_arena() {
        let cache = create(arena, "frame", 192, &CacheArgs::default());
        let objects = take_many(cache, 500);
        give(cache, objects.iter().copied().step_by(2));
        let stats = cache.stats();
        assert!(stats.in_sheaves > 0);
        assert_eq!(nodes(arena, "objects").iter().sum::<u64>(), stats.objects + stats.in_sheaves);
        assert_eq!(nodes(arena, "total_objects").iter().sum::<u64>(), stats.total_objects);
        assert_eq!(nodes(arena, "slabs").iter().sum::<u64>(), stats.slabs);
        assert_eq!(nodes(arena, "partial").iter().sum::<u64>(), stats.partial);
        let line = sysfs::slabinfo(arena);
        let line = line.lines().find(|line| line.starts_with("frame ")).unwrap();
        let (active, total) = (stats.objects + stats.in_sheaves, stats.total_objects);
        assert!(line.starts_with(&format!("{:<17} {active:>6} {total:>6} {:>6} ", "frame", 192)), "{line}");
        give(cache, objects.iter().copied().skip(1).step_by(2));
        end(cache);
    }
}

#[test]
fn min_partial_is_what_frees_go_by() {
    for arena in every_arena() {
        let args = CacheArgs { flags: SlabFlags::NOLEAKTRACE, ..CacheArgs::default() };
        for keeps in [0, 3, 8] {
            let cache = create(arena, "frame", 1024, &args);
            write(arena, "/frame/min_partial", &keeps.to_string()).unwrap();
            assert_eq!(cache.info().min_partial, keeps);
            let objects = take_many(cache, 20 * cache.info().objs_per_slab as usize);
            give(cache, objects);
            // As in Linux the slab that becomes free is one of those that are counted.
            assert_eq!(cache.stats().slabs, keeps.saturating_sub(1), "wholly free slabs that stay");
            end(cache);
        }
    }
}

#[test]
fn validate_says_what_it_found() {
    let arena = Arena::create(config(BackendKind::Locked, Form::Packed)).unwrap();
    let cache = create(arena, "frame", 192, &CacheArgs { flags: SlabFlags::NOLEAKTRACE, ..CacheArgs::default() });
    let objects = take_many(cache, 10);
    write(arena, "/frame/validate", "1").unwrap();
    let freed = objects[4];
    give(cache, objects);
    let at = cache.info().freeptr_offset;
    // SAFETY: nobody uses the object; its free pointer is broken on purpose.
    unsafe { freed.add(at).cast::<u64>().write(8) };
    let error = write(arena, "/frame/validate", "1").unwrap_err();
    let text = error.to_string();
    assert_eq!(error.errno, Errno::Io);
    assert!(text.contains("cache 'frame': validate: slab at"), "{text}");
}

#[test]
fn names_of_one_storage_show_it_all_alike_but_for_what_is_their_own() {
    for arena in every_arena() {
        let make = |name: &str, size| CacheName::create(arena, name, size, &CacheArgs::default()).unwrap();
        let (frame, alias, apart) = (make("frame", 190), make("alias", 185), make("apart", 1024));
        assert_eq!((alias.primary().as_deref(), alias.aliases()), (Some("frame"), vec!["frame".to_owned()]));
        // SAFETY: the name lives until the end.
        let cache = unsafe { alias.raw() };
        let objects = take_many(cache, 500);
        give(cache, objects.iter().copied().skip(100));
        let all = sysfs::all_values(arena, &|_| None);
        assert_eq!(all.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["frame", "alias", "apart"]);
        for (one, other) in all[0].1.iter().zip(&all[1].1) {
            let own = if one.0 == "object_size" { ("190", "185") } else { ("", "") };
            match own {
                ("", "") => assert_eq!(one, other),
                (size, smaller) => {
                    assert_eq!((one.1.to_string(), other.1.to_string()), (format!("{size}\n"), format!("{smaller}\n")));
                }
            }
        }
        for (name, values) in &all {
            for (attribute, value) in values {
                assert_eq!(read(arena, &format!("/{name}/{attribute}")), Ok(value.to_string()), "{name}/{attribute}");
            }
            assert_eq!(sysfs::values(arena, &format!("/{name}"), &|_| None).as_ref(), Ok(values));
        }
        assert!(nodes(arena, "objects").iter().sum::<u64>() >= 100);
        assert_eq!(read(arena, "/alias/aliases").as_deref(), Ok("1\n"));
        assert_eq!(readlink(arena, "/alias/primary").as_deref(), Ok("../frame"));
        assert_eq!(readlink(arena, "/apart/primary").as_deref(), Ok("../apart"));
        assert_eq!(read(arena, "/alias/primary/object_size").as_deref(), Ok("190\n"));
        let table = sysfs::slabinfo(arena);
        let rows: Vec<_> = table.lines().skip(2).map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(rows, ["frame", "apart"]);
        give(cache, objects.into_iter().take(100));
        // SAFETY: nobody uses the names any more.
        unsafe {
            frame.destroy().unwrap();
            assert_eq!(readlink(arena, "/alias/primary").as_deref(), Ok("../alias"));
            alias.destroy().unwrap();
            apart.destroy().unwrap();
        }
    }
}

/// A storage behind a name that nobody made is a folder, so that no link leads nowhere.
#[test]
fn a_hidden_primary_is_a_folder() {
    static STORAGE: CacheStorage = CacheStorage::new();
    let arena = Arena::create(config(BackendKind::Locked, Form::Packed)).unwrap();
    let args = CacheArgs { owner: Some(std::sync::Arc::new(())), ..CacheArgs::default() };
    let owned = STORAGE.setup(arena, "owned", 192, &args).unwrap();
    assert_eq!(listdir(arena, "/").unwrap(), [":0000192", "owned"]);
    assert_eq!(readlink(arena, "/owned/primary").as_deref(), Ok("../:0000192"));
    assert_eq!(readlink(arena, "/:0000192/primary").as_deref(), Ok("../:0000192"));
    assert_eq!(read(arena, "/:0000192/aliases").as_deref(), Ok("1\n"));
    assert_eq!(read(arena, "/owned/primary/slab_size").as_deref(), Ok("192\n"));
    assert!(sysfs::slabinfo(arena).lines().any(|line| line.starts_with(":0000192 ")));
    drop(owned);
    // SAFETY: nobody uses it.
    unsafe { STORAGE.destroy().unwrap() };
    assert_eq!(listdir(arena, "/").unwrap(), [""; 0]);
}
