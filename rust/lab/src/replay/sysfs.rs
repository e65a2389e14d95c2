//! The attributes of a machine's caches, as a copy of `/sys/kernel/slab` in JSON.
//!
//! `{"caches": {name: {attribute: text}}, "aliases": {name: target}}`: the texts are what the files hold, the aliases what the
//! symbolic links name (merged caches live under names like `:A-0000064`).

#![forbid(unsafe_code)]

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use thiserror::Error;

/// A copy of `/sys/kernel/slab`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Sysfs {
    caches: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
}

/// Why a copy cannot be used.
#[derive(Debug, Error)]
#[error("{file}: {why}")]
pub struct SysfsError {
    file: String,
    why: String,
}

/// The attributes of one cache that count for its shape, in bytes where they are sizes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Of an object.
    pub object_size: usize,
    /// Effective alignment.
    pub align: usize,
    /// The stride.
    pub slab_size: usize,
    /// A slab has `1 << order` pages.
    pub order: u8,
    /// Objects of a slab.
    pub objs_per_slab: u32,
    /// Objects of a sheaf; 0: the machine's kernel had none for this cache.
    pub sheaf_capacity: u32,
    /// Names of the switches that are on, and `ctor` where there is one.
    pub on: Vec<&'static str>,
}

/// Attributes that are 0 or 1 and count for a cache's shape.
const SWITCHES: &[&str] = &[
    "hwcache_align",
    "reclaim_account",
    "cache_dma",
    "destroy_by_rcu",
    "sanity_checks",
    "red_zone",
    "poison",
    "store_user",
    "trace",
];

impl Sysfs {
    /// Reads a copy, gzip or plain.
    ///
    /// # Errors
    /// [`SysfsError`] names the file and what is wrong with it.
    pub fn read(path: &Path) -> Result<Sysfs, SysfsError> {
        let failed = |why: String| SysfsError { file: path.display().to_string(), why };
        let mut text = String::new();
        crate::trace::open(path)
            .and_then(|mut source| source.read_to_string(&mut text))
            .map_err(|error| failed(error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| failed(format!("not a copy of /sys/kernel/slab: {error}")))
    }

    /// The attributes of the cache `name`, through its alias if it was merged; `Ok(None)` if there is no such cache.
    ///
    /// # Errors
    /// The attribute that is missing or not a number.
    pub fn attributes(&self, name: &str) -> Result<Option<Attributes>, String> {
        let target = self.aliases.get(name).map_or(name, String::as_str);
        let Some(texts) = self.caches.get(target) else { return Ok(None) };
        let number = |key: &str| number(texts, key).map_err(|why| format!("cache {name}: {why}"));
        let mut on = Vec::new();
        for &switch in SWITCHES {
            if texts.contains_key(switch) && number(switch)? != 0 {
                on.push(switch);
            }
        }
        if texts.get("ctor").is_some_and(|ctor| !ctor.trim().is_empty()) {
            on.push("ctor");
        }
        Ok(Some(Attributes {
            object_size: number("object_size")?,
            align: number("align")?,
            slab_size: number("slab_size")?,
            order: u8::try_from(number("order")?).map_err(|_| format!("cache {name}: order is above 255"))?,
            objs_per_slab: number("objs_per_slab")? as u32,
            sheaf_capacity: if texts.contains_key("sheaf_capacity") { number("sheaf_capacity")? as u32 } else { 0 },
            on,
        }))
    }
}

fn number(texts: &BTreeMap<String, String>, key: &str) -> Result<usize, String> {
    let text = texts.get(key).ok_or_else(|| format!("attribute {key} is missing"))?;
    text.trim().parse::<u32>().map(|n| n as usize).map_err(|_| format!("attribute {key} is {text:?}, not a number"))
}

#[cfg(test)]
#[path = "sysfs_tests.rs"]
mod tests;
