//! Which objects of caches in use are live, and the report when the process ends.

mod support;

use haybarn::{Arena, CacheArgs, Error, RawCache, SlabFlags, rcu};
use std::collections::HashSet;
use std::ptr::NonNull;
use support::process::{child, is_child};
use support::*;

fn addresses(cache: RawCache) -> (u64, HashSet<usize>) {
    let (live, sample) = cache.live_objects(usize::MAX);
    assert_eq!(live as usize, sample.len());
    for object in &sample {
        let at = cache.check(std::ptr::without_provenance(object.address)).unwrap();
        assert_eq!(at.0, object.index);
    }
    (live, sample.iter().map(|object| object.address).collect())
}

fn set(objects: &[NonNull<u8>]) -> HashSet<usize> {
    objects.iter().map(|object| object.addr().get()).collect()
}

#[test]
fn what_is_handed_out_is_live_and_nothing_else() {
    for arena in every_arena().into_iter().chain(virtual_arenas(4, 2)) {
        for (name, flags) in [("sheaves", SlabFlags::empty()), ("typesafe", SlabFlags::TYPESAFE_BY_RCU)] {
            let cache = create(arena, name, 120, &CacheArgs { flags, ..CacheArgs::default() });
            assert_eq!(addresses(cache), (0, HashSet::new()));
            let mut objects = take_many(cache, 1000);
            // Some in sheaves, some in barns, some in slabs, some waiting for readers, some set aside.
            let freed: Vec<_> = objects.split_off(400);
            give(cache, freed[..500].iter().copied());
            {
                let _reading = rcu::read_lock();
                for &object in &freed[500..] {
                    // SAFETY: ours, once.
                    unsafe { cache.free_rcu(object) }.unwrap();
                }
                assert_eq!(addresses(cache), (400, set(&objects)), "{}", arena.backend());
            }
            cache.rcu_barrier().unwrap();
            let sheaf = cache.prefill(PLAIN, 20).unwrap();
            let before = cache.stats().objects;
            assert_eq!(addresses(cache), (400, set(&objects)), "{}", arena.backend());
            assert_eq!(cache.stats().objects, before, "a look changes nothing");
            drop(sheaf);
            assert_eq!(cache.live_objects(3).1.len(), 3);
            audit_drained(cache, 400);
            give(cache, objects);
            end(cache);
        }
    }
}

#[test]
fn a_look_while_others_work_loses_nothing() {
    for arena in every_arena() {
        let cache = create(arena, "busy", 64, &CacheArgs::default());
        let kept = take_many(cache, 100);
        let stop = haybarn::sync::Counter::new();
        let mut seen_always = true;
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while stop.get() == 0 {
                        let objects = take_many(cache, 300);
                        give(cache, objects);
                    }
                });
            }
            for _ in 0..50 {
                // What is live for good is seen always. Of what others have, even the slab may be gone by now.
                let live: HashSet<_> = cache.live_objects(usize::MAX).1.iter().map(|object| object.address).collect();
                seen_always &= live.is_superset(&set(&kept));
            }
            stop.add(1);
        });
        assert!(seen_always);
        assert_eq!(addresses(cache).0, 100);
        give(cache, kept);
        end(cache);
    }
}

#[test]
fn leaks_lists_caches_with_live_objects() {
    for arena in every_arena() {
        let (leaky, clean) =
            (create(arena, "leaky", 64, &CacheArgs::default()), create(arena, "clean", 64, &CacheArgs::default()));
        let args = CacheArgs { flags: SlabFlags::NOLEAKTRACE, ..CacheArgs::default() };
        let untraced = create(arena, "untraced", 64, &args);
        let (kept, other) = (take_many(leaky, 6), take_many(untraced, 1));
        let freed = take_many(clean, 6);
        give(clean, freed);
        let leaks = arena.leaks();
        assert_eq!(leaks.len(), 1, "{leaks:?}");
        assert_eq!((leaks[0].cache.as_str(), leaks[0].live, leaks[0].sample.len()), ("leaky", 6, 6));
        let text = leaks[0].to_string();
        assert!(text.starts_with("cache 'leaky': 6 live object(s): 0x") && text.ends_with(", ..."), "{text}");
        // SAFETY: nobody else uses it.
        let refused = unsafe { leaky.destroy() };
        let Err(error @ Error::CacheBusy { .. }) = refused else { panic!("{refused:?}") };
        let Error::CacheBusy { sample, .. } = &error else { unreachable!() };
        assert_eq!(sample, &leaks[0].sample, "destroy names the same");
        for object in &sample[..4] {
            assert!(error.to_string().contains(&format!("{:#x} (index {})", object.address, object.index)), "{error}");
        }
        give(leaky, kept);
        give(untraced, other);
        assert!(arena.leaks().is_empty());
        [leaky, clean, untraced].into_iter().for_each(end);
    }
}

#[test]
fn child_leaks() {
    if is_child() {
        let cache = create(Arena::global().unwrap(), "left-behind", 64, &CacheArgs::default());
        let _kept = take_many(cache, 2);
    }
}

fn at_exit(value: Option<&str>) -> (bool, String) {
    let mut command = child("child_leaks");
    command.env_remove("HAYBARN_LEAKS").envs(value.map(|value| ("HAYBARN_LEAKS", value)));
    let done = command.output().unwrap();
    (done.status.success(), String::from_utf8_lossy(&done.stderr).into_owned())
}

#[test]
fn the_process_reports_at_its_end_if_asked() {
    let (fine, said) = at_exit(Some("1"));
    assert!(fine, "{said}");
    assert!(said.contains("haybarn: at exit: cache 'left-behind': 2 live object(s): 0x"), "{said}");
    for silent in [None, Some(""), Some("0")] {
        let (fine, said) = at_exit(silent);
        assert!(fine && !said.contains("haybarn"), "{said}");
    }
    let (fine, said) = at_exit(Some("maybe"));
    assert!(!fine && said.contains("HAYBARN_LEAKS"), "{said}");
}
