//! The 235 storages that a Linux host had: no two that it keeps apart for a reason that their attributes show would share.

use super::*;
use std::collections::BTreeSet;

#[path = "../../tests/support/linux.rs"]
mod linux;

use linux::{Attributes, number, recorded, shown_flags};

/// Pairs that Linux keeps apart for a reason that no attribute shows, either way around.
const OTHERS: &[(&str, &str, &str)] = &[
    (":0000032", "msg_msg-32", BUCKETS),
    (":0000112", "kmalloc_buckets", "made with SLAB_NO_MERGE"),
    (":0000128", "kmem_cache_node", BOOT),
    (":0000256", "kmem_cache", BOOT),
    (":0000256", "maple_node", SHEAVES),
    ("kmem_cache", "maple_node", BOOT),
];
const BUCKETS: &str = "size classes of kmem_buckets_create are made with SLAB_NO_MERGE";
const BOOT: &str = "caches made before kmalloc are exempt (their reference count is -1)";
const SHEAVES: &str = "made with a sheaf capacity of its own";

/// What is visible of the flags: in attributes, and by the letters of a folder's name.
fn flags(name: &str, attributes: &Attributes) -> SlabFlags {
    let mut flags = shown_flags(attributes) - SlabFlags::HWCACHE_ALIGN;
    let letters = name.strip_prefix(':').and_then(|name| name.split_once('-')).map_or("", |(letters, _)| letters);
    flags.set(SlabFlags::ACCOUNT, letters.contains('A'));
    flags.set(SlabFlags::CACHE_DMA32, letters.contains('D'));
    flags
}

/// Whether its attributes show a constructor or a usercopy region.
fn is_apart(attributes: &Attributes) -> bool {
    !attributes["ctor"].trim().is_empty() || number(attributes, "usersize") != 0
}

#[test]
fn caches_that_linux_keeps_apart_for_a_visible_reason_stay_apart() {
    let caches = recorded();
    let mut found = BTreeSet::new();
    for (name, attributes) in &caches {
        let wanted = Wanted {
            object_size: number(attributes, "object_size"),
            align: number(attributes, "align"),
            flags: flags(name, attributes),
            apart: is_apart(attributes),
        };
        for (other, there) in caches.iter().filter(|(other, _)| *other != name) {
            let standing =
                Standing { slab_size: number(there, "slab_size"), flags: flags(other, there), apart: is_apart(there) };
            if wanted.fits(&standing) {
                found.insert((name.as_str(), other.as_str()));
            }
        }
    }
    let both_ways = OTHERS.iter().flat_map(|&(one, other, _)| [(one, other), (other, one)]);
    assert_eq!(found, both_ways.collect());
}

#[test]
fn each_storage_is_one_that_its_own_request_would_share() {
    let mut shared = 0;
    for (name, attributes) in &recorded() {
        let own = Standing { slab_size: number(attributes, "slab_size"), flags: flags(name, attributes), apart: false };
        let again = Wanted {
            object_size: number(attributes, "object_size"),
            align: number(attributes, "align"),
            flags: own.flags,
            apart: is_apart(attributes),
        };
        // Folders that Linux named by size are those of storages that others may share.
        if name.starts_with(':') {
            assert!(again.fits(&own), "{name}");
            let stride = own.slab_size;
            assert_eq!(*name, unique_id(stride, own.flags), "{name}");
            shared += 1;
        }
    }
    assert!(shared > 80, "{shared}");
}
