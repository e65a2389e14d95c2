//! The tree of attributes against Linux's own: names, formats, and what a path or a text that is not legal is answered with.
//!
//! Sources: the recorded `/sys/kernel/slab` of a 6.18 host; its answers to the reads, writes and paths below, tried as root.

mod support;

use haybarn::sysfs::{self, Errno, SysfsError, listdir, read, readlink, write};
use haybarn::{Arena, BackendKind, CacheArgs, Form, SlabFlags};
use std::collections::BTreeMap;
use support::*;

type Attributes = BTreeMap<String, String>;

fn recorded() -> BTreeMap<String, Attributes> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/sysfs-slab-linux-6.18.json.gz");
    let file = flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap());
    let mut all: serde_json::Value = serde_json::from_reader(file).unwrap();
    serde_json::from_value(all["caches"].take()).unwrap()
}

fn locked() -> &'static Arena {
    Arena::create(config(BackendKind::Locked, Form::Packed)).unwrap()
}

/// An arena that computes with as many CPUs as the recorded host had.
fn two_cpus() -> &'static Arena {
    virtual_arenas(2, 1)[0]
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, SysfsError>, errno: Errno) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.errno, errno, "{error}");
    let text = error.to_string();
    assert!(text.contains(errno.text()) && text.contains(&format!("'{}'", error.path)), "{text}");
    text
}

fn number(attributes: &Attributes, name: &str) -> u64 {
    attributes[name].trim().parse().unwrap()
}

/// The kind of a text: what is left when every number is `n`.
fn shape(text: &str) -> String {
    let mut shape = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' if shape.ends_with('n') => {}
            '0'..='9' => shape.push('n'),
            c => shape.push(c),
        }
    }
    shape.replace(" Nn=n", "").replace(" Cn=n(n)", "").replace(" Cn=n", "")
}

/// A symbol; no number.
const LATER: &[&str] = &["ctor"];

#[test]
fn every_attribute_of_linux_is_there_in_its_format() {
    let arena = two_cpus();
    let cache = create(arena, "frame", 192, &CacheArgs::default());
    let objects = take_many(cache, 100);
    let names = listdir(arena, "/frame").unwrap();
    assert!(names.is_sorted() && names.contains(&"primary".to_owned()));
    for (of, attributes) in recorded() {
        for (name, text) in attributes.iter().filter(|(name, _)| !LATER.contains(&name.as_str())) {
            assert!(names.contains(name), "{name} of {of}");
            // The record has the lines without their ends.
            let line = if text.is_empty() { String::new() } else { format!("{text}\n") };
            let ours = read(arena, &format!("/frame/{name}")).unwrap();
            assert_eq!(shape(&ours), shape(&line), "{name}: {ours:?}, of {of} {line:?}");
        }
    }
    give(cache, objects);
    end(cache);
}

#[test]
fn what_linux_shows_of_its_caches_we_show_of_the_same() {
    let flags = [
        ("hwcache_align", SlabFlags::HWCACHE_ALIGN),
        ("destroy_by_rcu", SlabFlags::TYPESAFE_BY_RCU),
        ("reclaim_account", SlabFlags::RECLAIM_ACCOUNT),
        ("cache_dma", SlabFlags::CACHE_DMA),
    ];
    let same = [
        "align",
        "cache_dma",
        "destroy_by_rcu",
        "hwcache_align",
        "min_partial",
        "object_size",
        "objs_per_slab",
        "order",
        "poison",
        "reclaim_account",
        "red_zone",
        "sanity_checks",
        "slab_size",
        "store_user",
        "trace",
    ];
    let arena = two_cpus();
    let mut compared = 0;
    for (name, attributes) in recorded() {
        let is_class = name.contains("kmalloc-") || number(&attributes, "align") > 4096;
        // Constructors, size classes, and a free pointer at an offset that no attribute shows: their geometry is not asked for
        // by size, alignment and flags alone.
        if is_class || !attributes["ctor"].is_empty() || name == "vm_area_struct" {
            continue;
        }
        let mut args = CacheArgs { align: number(&attributes, "align") as usize, ..CacheArgs::default() };
        for (attribute, flag) in flags {
            args.flags.set(flag, attributes[attribute] == "1");
        }
        let cache = create(arena, &name, number(&attributes, "object_size") as usize, &args);
        for attribute in same {
            let ours = read(arena, &format!("/{name}/{attribute}")).unwrap();
            assert_eq!(ours, format!("{}\n", attributes[attribute]), "{name}/{attribute}");
        }
        compared += 1;
        end(cache);
    }
    assert!(compared > 150, "{compared} caches compared");
}

#[test]
fn what_may_be_written_is_what_linux_lets_write() {
    let arena = locked();
    let cache = create(arena, "frame", 192, &CacheArgs::default());
    // Text; what min_partial, cpu_partial and shrink answered. cpu_partial takes 0 alone since there are sheaves.
    let (ok, invalid, range) = (None, Some(Errno::Invalid), Some(Errno::Range));
    let answers = [
        ("", ok, ok, ok),
        ("5", ok, invalid, invalid),
        ("0", ok, ok, invalid),
        ("1", ok, invalid, ok),
        (" 5", invalid, invalid, invalid),
        ("5 ", invalid, invalid, invalid),
        ("5\n", ok, invalid, invalid),
        ("5\n\n", invalid, invalid, invalid),
        ("+5", ok, invalid, invalid),
        ("-1", invalid, invalid, invalid),
        ("0x5", invalid, invalid, invalid),
        ("05", ok, invalid, invalid),
        ("5\0", ok, invalid, invalid),
        ("x", invalid, invalid, invalid),
        ("4294967296", ok, range, invalid),
        ("18446744073709551616", range, range, ok),
    ];
    for (text, percent) in
        [("0", ok), ("100", ok), ("+7\n", ok), ("101", range), ("4294967296", range), ("x", invalid), ("", ok)]
    {
        let (path, before) = ("/frame/remote_node_defrag_ratio", cache.remote_node_defrag_ratio());
        match percent {
            None => write(arena, path, text).unwrap(),
            Some(errno) => {
                refused(write(arena, path, text), errno);
                assert_eq!(cache.remote_node_defrag_ratio(), before);
            }
        }
        assert_eq!(read(arena, path), Ok(format!("{}\n", cache.remote_node_defrag_ratio())));
    }
    for (text, min_partial, cpu_partial, shrink) in answers {
        for (name, answer) in [("min_partial", min_partial), ("cpu_partial", cpu_partial), ("shrink", shrink)] {
            let path = format!("/frame/{name}");
            let before = read(arena, &path).unwrap();
            match answer {
                None => write(arena, &path, text).unwrap(),
                Some(errno) => {
                    let said = refused(write(arena, &path, text), errno);
                    assert!(said.contains("cache 'frame'") && said.contains(name), "{said}");
                    assert!(said.contains("is not legal: "), "{said}");
                    assert_eq!(read(arena, &path).unwrap(), before);
                }
            }
        }
    }
    for name in listdir(arena, "/frame").unwrap().iter().filter(|name| *name != "primary") {
        let path = format!("/frame/{name}");
        let is_writable = sysfs::open(arena, &path).unwrap().is_writable();
        match write(arena, &path, "not legal anywhere") {
            Err(error) => assert_eq!(error.errno, if is_writable { Errno::Invalid } else { Errno::Access }, "{error}"),
            Ok(()) => panic!("{name} took it"),
        }
        if !is_writable {
            refused(write(arena, &path, ""), Errno::Access);
        }
    }
    end(cache);
}

#[test]
fn paths_lead_where_they_lead_on_a_file_system() {
    let arena = locked();
    assert_eq!(listdir(arena, "/"), Ok(vec![]));
    let cache = create(arena, "frame", 192, &CacheArgs::default());
    let other = create(arena, "other", 64, &CacheArgs::default());
    assert_eq!(listdir(arena, "/").unwrap(), ["frame", "other"]);
    let size = |path: &str| read(arena, path);
    for path in [
        "/frame/object_size",
        "//frame///object_size",
        "/./frame/./object_size",
        "/frame/../frame/object_size",
        "/../other/../frame/object_size",
        "/frame/primary/object_size",
        "/frame/primary/../frame/primary/object_size",
    ] {
        assert_eq!(size(path).as_deref(), Ok("192\n"), "{path}");
    }
    assert_eq!(size("/frame/primary/../other/object_size").as_deref(), Ok("64\n"));
    assert_eq!(listdir(arena, "/frame/primary"), listdir(arena, "/frame"));
    assert_eq!(listdir(arena, "/frame/"), listdir(arena, "/frame/primary/"));
    assert_eq!(listdir(arena, "/frame/.."), listdir(arena, "/"));
    assert_eq!(readlink(arena, "/frame/primary").as_deref(), Ok("../frame"));
    refused(read(arena, "/"), Errno::IsDir);
    refused(read(arena, "/frame"), Errno::IsDir);
    refused(read(arena, "/frame/primary"), Errno::IsDir);
    refused(write(arena, "/frame", "1"), Errno::IsDir);
    refused(read(arena, "/frame/order/x"), Errno::NotDir);
    refused(read(arena, "/frame/order/"), Errno::NotDir);
    refused(read(arena, "/frame/order/.."), Errno::NotDir);
    refused(listdir(arena, "/frame/order"), Errno::NotDir);
    refused(readlink(arena, "/frame/order/x"), Errno::NotDir);
    refused(readlink(arena, "/"), Errno::Invalid);
    refused(readlink(arena, "/frame"), Errno::Invalid);
    refused(readlink(arena, "/frame/primary/"), Errno::Invalid);
    refused(readlink(arena, "/frame/order"), Errno::Invalid);
    assert!(refused(read(arena, "/nobody/order"), Errno::NoEntry).contains("'nobody'"));
    assert!(refused(read(arena, "/frame/odrer"), Errno::NoEntry).contains("'odrer'"));
    refused(listdir(arena, "/nobody"), Errno::NoEntry);
    refused(readlink(arena, "/nobody/primary"), Errno::NoEntry);
    for path in ["", "frame/order", "./frame"] {
        assert!(refused(read(arena, path), Errno::Invalid).contains("begins with '/'"));
    }
    end(cache);
    refused(read(arena, "/frame/order"), Errno::NoEntry);
    end(other);
}

#[test]
fn names_with_odd_characters_are_folders() {
    let arena = locked();
    for name in ["a:b", ":0000064", "%s%n", "grüße-缓存", "...", ".hidden", "primary", "order", "N0=1", "a\u{200b}b"]
    {
        let cache = create(arena, name, 64, &CacheArgs::default());
        assert_eq!(listdir(arena, "/").unwrap(), [name]);
        assert_eq!(read(arena, &format!("/{name}/object_size")).as_deref(), Ok("64\n"));
        assert_eq!(readlink(arena, &format!("/{name}/primary")), Ok(format!("../{name}")));
        assert!(sysfs::slabinfo(arena).lines().any(|line| line.split(' ').next() == Some(name)));
        end(cache);
    }
}
