//! The tree of attributes while caches come and go: what a name says of its size is what its attributes say, all of one look,
//! or the name is not there.
//!
//! `tools/planted.py` runs this on a build in which a look does not keep its storage, which it has to catch.
//! `HAYBARN_SYSFS_ROUNDS` sets how many caches each maker makes.

mod support;

use haybarn::sync::Counter;
use haybarn::sysfs::{self, Errno, Value};
use haybarn::{Arena, CacheArgs, CacheName, Geometry, GeometryRequest, SlabFlags, Stat, geometry};
use std::fmt::Write;
use std::thread;
use support::*;

const MAKERS: usize = 2;
const READERS: usize = 2;

fn rounds() -> usize {
    std::env::var("HAYBARN_SYSFS_ROUNDS").map_or(1_000, |rounds| rounds.parse().expect("a number of rounds"))
}

#[derive(Default)]
struct World {
    /// Makers that are not done.
    busy: Counter,
    looks: Counter,
    absent: Counter,
}

/// Ends the readers also when what they wait for panics.
struct Done<'w>(&'w Counter);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.sub(1);
    }
}

/// Sizes from 8 bytes to 32 KiB, whose caches have different numbers throughout.
fn size_of(n: usize) -> usize {
    8 << (n % 13)
}

fn make(arena: &'static Arena, world: &World, maker: usize) {
    let mut name = String::new();
    for n in (0..).take_while(|&n| n < rounds() || world.looks.get() < 100) {
        let size = size_of(n + maker * 5);
        name.clear();
        write!(name, "m{maker}-{n}-{size}").unwrap();
        let args = CacheArgs { flags: SlabFlags::NO_MERGE, ..CacheArgs::default() };
        let cache = CacheName::create(arena, &name, size, &args).unwrap();
        // SAFETY: the handle is not used beyond the cache's end.
        let raw = unsafe { cache.raw() };
        let objects = take_many(raw, n % 40);
        give(raw, objects);
        // SAFETY: nobody has the handle any more.
        unsafe { cache.destroy().unwrap() };
    }
}

/// What Linux makes of that size here.
fn expected(arena: &'static Arena, size: usize) -> Geometry {
    let cpus = if arena.info().backend == haybarn::BackendKind::Virtual {
        arena.cpus()
    } else {
        haybarn::slab::geometry::default_cpus(haybarn::present_cpus(), haybarn::possible_cpus())
    };
    geometry(&GeometryRequest::new(size, cpus)).unwrap()
}

fn check_folder(arena: &'static Arena, name: &str) -> bool {
    let size = name.rsplit('-').next().unwrap().parse().unwrap();
    let values = match sysfs::values(arena, &format!("/{name}"), &|_| None) {
        Ok(values) => values,
        Err(error) => {
            assert!(matches!(error.errno, Errno::NoEntry | Errno::Busy), "{error}");
            return false;
        }
    };
    let value = |wanted: &str| values.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value).unwrap();
    let Geometry { slab_size, align, order, objs_per_slab, sheaf_capacity, min_partial, .. } = expected(arena, size);
    for (attribute, number) in [
        ("object_size", size as u64),
        ("slab_size", slab_size as u64),
        ("align", align as u64),
        ("order", order.into()),
        ("objs_per_slab", objs_per_slab.into()),
        ("sheaf_capacity", sheaf_capacity.into()),
        ("min_partial", min_partial.into()),
    ] {
        assert_eq!(*value(attribute), Value::Number(number), "{attribute} of {name}");
    }
    let sum = |wanted: &str| match value(wanted) {
        Value::Nodes { total, .. } => *total,
        other => panic!("{wanted} of {name}: {other:?}"),
    };
    let (slabs, total) = (sum("slabs"), sum("total_objects"));
    assert!(total.is_multiple_of(objs_per_slab.into()), "{total} objects in {slabs} slabs of {name}");
    assert!(sum("objects_partial") <= sum("objects"), "{name}: {values:?}");
    true
}

fn check_all(arena: &'static Arena) {
    for line in sysfs::slabinfo(arena).lines().skip(2) {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap();
        let size = name.rsplit('-').next().unwrap().parse().unwrap();
        let found: Vec<usize> = words.take(5).map(|word| word.parse().unwrap()).collect();
        let Geometry { slab_size, order, objs_per_slab, .. } = expected(arena, size);
        assert_eq!(found[2..], [slab_size, objs_per_slab as usize, 1 << order], "{line}");
    }
    for (name, stats) in sysfs::stats(arena) {
        assert!(stats.total_objects.is_multiple_of(name.info().objs_per_slab.into()), "{name:?}: {stats:?}");
    }
}

fn look(arena: &'static Arena, world: &World) {
    while world.busy.get() > 0 {
        for name in sysfs::listdir(arena, "/").unwrap() {
            if check_folder(arena, &name) {
                world.looks.add(1)
            } else {
                world.absent.add(1)
            };
            // What is written to one that is going is done to it, or refused.
            match sysfs::write(arena, &format!("/{name}/shrink"), "1") {
                Ok(()) => {}
                Err(error) => assert!(matches!(error.errno, Errno::NoEntry | Errno::NoDevice | Errno::Busy), "{error}"),
            }
        }
        check_all(arena);
    }
}

#[test]
fn looks_while_caches_come_and_go() {
    for arena in every_arena() {
        let world = World::default();
        world.busy.set(MAKERS as u64);
        thread::scope(|scope| {
            for _ in 0..READERS {
                scope.spawn(|| look(arena, &world));
            }
            for maker in 0..MAKERS {
                let world = &world;
                scope.spawn(move || {
                    let _done = Done(&world.busy);
                    make(arena, world, maker);
                });
            }
        });
        assert!(world.looks.get() > 0, "nobody looked at anything");
        assert_eq!(sysfs::listdir(arena, "/"), Ok(vec![]));
        assert_eq!(arena.info().used, 0, "no look kept a slab");
    }
}

/// Names that share one storage: each says its own size, and the numbers of the storage that they share.
#[test]
fn looks_while_aliases_come_and_go() {
    for arena in every_arena() {
        let world = World::default();
        world.busy.set(1);
        // SAFETY: below, nobody uses a name that is destroyed.
        let end = |name: CacheName| unsafe { name.destroy().unwrap() };
        let first = CacheName::create(arena, "first-57", 57, &CacheArgs::default()).unwrap();
        thread::scope(|scope| {
            for _ in 0..READERS {
                scope.spawn(|| {
                    while world.busy.get() > 0 {
                        for name in sysfs::listdir(arena, "/").unwrap() {
                            let size = name.rsplit('-').next().unwrap();
                            let shown = sysfs::read(arena, &format!("/{name}/object_size"));
                            let strides = sysfs::read(arena, &format!("/{name}/primary/slab_size"));
                            for (shown, wanted) in [(shown, size), (strides, "64")] {
                                match shown {
                                    Ok(text) => assert_eq!(text, format!("{wanted}\n"), "{name}"),
                                    Err(error) => assert!(error.errno != Errno::Io, "{error}"),
                                }
                            }
                            world.looks.add(1);
                        }
                    }
                });
            }
            let _done = Done(&world.busy);
            for n in (0..).take_while(|&n| n < rounds() || world.looks.get() < 100) {
                let size = 57 + n % 8;
                let name = CacheName::create(arena, &format!("alias-{n}-{size}"), size, &CacheArgs::default()).unwrap();
                assert_eq!(name.primary().as_deref(), Some("first-57"));
                end(name);
            }
        });
        assert!(world.looks.get() > 0);
        end(first);
    }
}

/// A reader that has an attribute open keeps what the cache was made to keep, not the cache.
#[test]
fn an_open_attribute_keeps_the_owner_alive() {
    use std::sync::Arc;
    for arena in every_arena() {
        let owner = Arc::new(Counter::new());
        let args = CacheArgs { owner: Some(owner.clone()), flags: SlabFlags::NO_MERGE, ..CacheArgs::default() };
        let cache = CacheName::create(arena, "owned", 64, &args).unwrap();
        drop(args);
        let order = sysfs::open(arena, "/owned/order").unwrap();
        assert_eq!(order.value().unwrap().to_string(), "0\n");
        // SAFETY: nobody uses it.
        unsafe { cache.destroy().unwrap() };
        drop(cache);
        assert_eq!(Arc::strong_count(&owner), 2);
        assert_eq!(order.value().unwrap_err().errno, Errno::NoDevice);
        let again = CacheName::create(arena, "owned", 64, &CacheArgs::default()).unwrap();
        assert_eq!(order.clone().write("1").unwrap_err().errno, Errno::NoDevice);
        drop(order);
        assert_eq!(Arc::strong_count(&owner), 1);
        // SAFETY: as above.
        unsafe { again.destroy().unwrap() };
    }
}

#[test]
fn clearing_and_counting_at_once_lose_nothing_that_a_cache_goes_by() {
    for arena in every_arena() {
        let cache = create(arena, "counted", 256, &CacheArgs::default());
        let world = World::default();
        world.busy.set(1);
        thread::scope(|scope| {
            scope.spawn(|| {
                while world.busy.get() > 0 {
                    for &stat in Stat::ALL {
                        sysfs::write(arena, &format!("/counted/{}", stat.name()), "0").unwrap();
                    }
                    world.looks.add(1);
                }
            });
            let _done = Done(&world.busy);
            for n in 0..rounds() {
                let objects = take_many(cache, 1 + n % 100);
                give(cache, objects);
            }
            while world.looks.get() == 0 {
                thread::yield_now();
            }
        });
        audit(cache, 0);
        end(cache);
    }
}
