//! The caches of a recorded Linux 6.18 host by their attributes, and what can be read in those. Who includes this has `SlabFlags`.

use super::SlabFlags;
use std::collections::BTreeMap;

/// A cache's attributes by name, as their files hold them.
pub type Attributes = BTreeMap<String, String>;

/// The 235 storages of the host, by the names of their folders.
pub fn recorded() -> BTreeMap<String, Attributes> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/sysfs-slab-linux-6.18.json.gz");
    let file = std::fs::File::open(path).unwrap();
    let mut all: serde_json::Value = serde_json::from_reader(flate2::read::GzDecoder::new(file)).unwrap();
    let caches: BTreeMap<_, _> = serde_json::from_value(all["caches"].take()).unwrap();
    assert_eq!(caches.len(), 235);
    caches
}

/// An attribute that is a number.
pub fn number(attributes: &Attributes, name: &str) -> usize {
    let text = attributes.get(name).unwrap_or_else(|| panic!("no attribute {name}"));
    text.trim().parse().unwrap_or_else(|_| panic!("{name} is {text:?}"))
}

/// The attributes that show a flag as 0 or 1.
pub const FLAG_ATTRIBUTES: &[(&str, SlabFlags)] = &[
    ("hwcache_align", SlabFlags::HWCACHE_ALIGN),
    ("destroy_by_rcu", SlabFlags::TYPESAFE_BY_RCU),
    ("reclaim_account", SlabFlags::RECLAIM_ACCOUNT),
    ("cache_dma", SlabFlags::CACHE_DMA),
    ("sanity_checks", SlabFlags::CONSISTENCY_CHECKS),
    ("red_zone", SlabFlags::RED_ZONE),
    ("poison", SlabFlags::POISON),
    ("store_user", SlabFlags::STORE_USER),
    ("trace", SlabFlags::TRACE),
];

/// The flags that attributes show. Kernels without debugging or DMA zones lack some of them.
pub fn shown_flags(attributes: &Attributes) -> SlabFlags {
    let is_set = |name: &str| attributes.get(name).is_some_and(|text| text.trim() == "1");
    FLAG_ATTRIBUTES.iter().filter(|(name, _)| is_set(name)).fold(SlabFlags::empty(), |flags, &(_, flag)| flags | flag)
}
