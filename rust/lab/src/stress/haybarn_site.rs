#![forbid(unsafe_code)]
//! haybarn's storage for caches, as the scenario `prealloc` sees it.

use super::field::CacheSpec;
use super::no_cache::NoCache;
use super::site::{Owner, Setting, Site};
use crate::oracle::Subject;
use haybarn::{Arena, CacheArgs, CacheStorage, Error, RawCache};
use std::any::Any;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

/// A storage that stays for good, as a `static` does.
pub struct HaybarnSite {
    storage: &'static CacheStorage,
    arena: &'static Arena,
    name: String,
    spec: CacheSpec,
    watch: Watch,
}

/// The cache in a storage as a subject of the oracle.
pub type Watch = fn(RawCache, String, CacheSpec, &'static CacheStorage) -> Box<dyn Subject>;

impl HaybarnSite {
    pub fn new(arena: &'static Arena, name: String, spec: CacheSpec, watch: Watch) -> Self {
        Self { storage: Box::leak(Box::default()), arena, name, spec, watch }
    }

    fn args(&self, owner: Option<Owner>) -> CacheArgs {
        CacheArgs { align: self.spec.align, count_hits: self.spec.count_hits, owner, ..CacheArgs::default() }
    }
}

/// The same for the same cache.
fn number(cache: RawCache) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(cache)
}

fn setting(error: Error) -> Result<Setting, NoCache> {
    match error {
        Error::AlreadySetUp { .. } => Ok(Setting::Already),
        Error::StorageInUse { .. } => Ok(Setting::Read),
        Error::OutOfMemory { .. } => Err(NoCache::OutOfMemory(error.to_string())),
        _ => Err(NoCache::Refused(error.to_string())),
    }
}

impl Site for HaybarnSite {
    fn is_up(&self) -> bool {
        self.storage.raw().is_some()
    }

    fn first_use(&self, owner: Option<Owner>) -> Result<Setting, NoCache> {
        let used = self.storage.get_or_setup(self.arena, &self.name, self.spec.size, &self.args(owner));
        used.map_or_else(setting, |cache| Ok(Setting::Cache(number(cache))))
    }

    fn setup(&self, owner: Option<Owner>) -> Result<Setting, NoCache> {
        let made = self.storage.setup(self.arena, &self.name, self.spec.size, &self.args(owner));
        made.map_or_else(setting, |_| Ok(Setting::Cache(self.storage.raw().map_or(0, number))))
    }

    fn subject(&self) -> Option<Box<dyn Subject>> {
        Some((self.watch)(self.storage.raw()?, self.name.clone(), self.spec, self.storage))
    }

    fn reader(&self) -> Option<Box<dyn Any + Send>> {
        self.storage.name().map(|name| Box::new(name) as Box<dyn Any + Send>)
    }
}
