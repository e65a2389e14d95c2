//! Design `sheaves`: haybarn's own caches, in an arena of their own so that names never meet those of the process.
#![allow(unsafe_code)]

use super::block::Block;
use super::design::{Design, Made, Served, Usage};
use super::plan::{Origin, Plan, PlannedObject};
use super::shape::Shape;
use haybarn::sync::Counter;
use haybarn::{AllocFlags, Arena, BackendKind, CacheArgs, Error, Level, RawCache, Stat};
use std::ptr::NonNull;

const PAGE: usize = 4096;

/// Bytes of a cache's name, at most.
const LONGEST_NAME: usize = 127;

/// The caches of one replay.
pub struct Sheaves {
    arena: &'static Arena,
    stores: Vec<Store>,
}

enum Store {
    Cache(Slab),
    Runs(Runs),
}

/// A cache, with what every step needs of its shape.
struct Slab {
    raw: RawCache,
    object_size: usize,
    align: usize,
    made: Made,
}

/// Page runs: no cache, so what is live is counted here.
#[derive(Default)]
struct Runs {
    live: Counter,
    bytes: Counter,
}

impl Sheaves {
    /// Creates a cache per cache of the plan, of the shape with the same index, on `arena`.
    ///
    /// # Errors
    /// What creating a cache gives.
    pub fn new(arena: &'static Arena, plan: &Plan, shapes: &[Shape]) -> Result<Sheaves, Error> {
        let mut stores = Vec::with_capacity(plan.caches.len());
        for (index, (cache, shape)) in plan.caches.iter().zip(shapes).enumerate() {
            stores.push(match cache.origin {
                Origin::Large => Store::Runs(Runs::default()),
                Origin::Named | Origin::Kmalloc(_) => {
                    Store::Cache(Slab::new(arena, &legal(&cache.name, index), shape)?)
                }
            });
        }
        Ok(Sheaves { arena, stores })
    }

    /// The cache behind a cache of the plan; `None` for page runs.
    #[must_use]
    pub fn raw(&self, cache: u32) -> Option<RawCache> {
        match &self.stores[cache as usize] {
            Store::Cache(slab) => Some(slab.raw),
            Store::Runs(_) => None,
        }
    }
}

/// A recorded name may hold what no cache's name may, or be longer; such a one gets its number, so that it stays unique.
fn legal(name: &str, index: usize) -> String {
    let bad = |letter: char| letter == ' ' || letter == '/' || letter.is_control();
    if name.len() <= LONGEST_NAME && !name.contains(bad) {
        return name.to_owned();
    }
    let kept: String = name.chars().take(LONGEST_NAME / 4 - 4).collect();
    format!("{}#{index}", kept.replace(bad, "_"))
}

impl Slab {
    fn new(arena: &'static Arena, name: &str, shape: &Shape) -> Result<Slab, Error> {
        let &Shape { align, flags, min_order, sheaf_capacity, .. } = shape;
        let args = CacheArgs { align, flags, min_order, sheaf_capacity, ..CacheArgs::default() };
        let raw = RawCache::create(arena, name, shape.object_size, &args)?;
        let info = raw.info();
        let made = Made {
            object_size: info.object_size as u64,
            slab_size: info.slab_size as u64,
            order: info.order,
            objs_per_slab: info.objs_per_slab,
            sheaf_capacity: info.sheaf_capacity,
        };
        Ok(Slab { raw, object_size: shape.object_size, align: info.align, made })
    }

    fn usage(&self) -> Usage {
        let slabs = self.raw.stats().slabs;
        Usage { slabs, bytes: slabs * (PAGE << self.made.order) as u64 }
    }
}

impl Design for Sheaves {
    fn alloc(&self, object: &PlannedObject, id: u32) -> Option<(Block, Option<Served>)> {
        match &self.stores[object.cache as usize] {
            Store::Cache(slab) => {
                let (address, level) = slab.raw.alloc_level(AllocFlags::empty())?;
                let served = match level {
                    Level::Sheaf => Served::Sheaf,
                    Level::Barn => Served::Barn,
                    Level::Partial => Served::Partial,
                    Level::NewSlab => Served::NewSlab,
                };
                // SAFETY: the cache gave an object of this size to nobody else, until `free`.
                Some((unsafe { Block::stamped(address, slab.object_size, id) }, Some(served)))
            }
            Store::Runs(runs) => {
                let bytes = run_bytes(object);
                let address = self.arena.alloc_pages(bytes)?;
                runs.live.add(1);
                runs.bytes.add(bytes as u64);
                // SAFETY: the run is ours until `free`.
                Some((unsafe { Block::stamped(address, bytes, id) }, Some(Served::PageRun)))
            }
        }
    }

    fn free(&self, cache: u32, block: Block) {
        match &self.stores[cache as usize] {
            // SAFETY: the block was allocated from this cache, and is taken apart here.
            Store::Cache(slab) => unsafe { slab.raw.free(block.into_raw()) },
            Store::Runs(runs) => {
                runs.live.sub(1);
                runs.bytes.sub(block.bytes() as u64);
                let address: NonNull<u8> = block.into_raw();
                // SAFETY: the block was a run of this arena, and is taken apart here.
                unsafe { self.arena.free_pages(address) }.expect("a run that this arena gave out");
            }
        }
    }

    fn align(&self, cache: u32) -> usize {
        match &self.stores[cache as usize] {
            Store::Cache(slab) => slab.align,
            Store::Runs(_) => PAGE,
        }
    }

    fn usage(&self, cache: u32) -> Option<Usage> {
        Some(match &self.stores[cache as usize] {
            Store::Cache(slab) => slab.usage(),
            Store::Runs(runs) => Usage { slabs: runs.live.get(), bytes: runs.bytes.get() },
        })
    }

    fn made(&self, cache: u32) -> Option<Made> {
        match &self.stores[cache as usize] {
            Store::Cache(slab) => Some(slab.made.clone()),
            Store::Runs(_) => None,
        }
    }

    fn counters(&self, cache: u32) -> Vec<(&'static str, u64)> {
        let Store::Cache(slab) = &self.stores[cache as usize] else { return Vec::new() };
        let stats = slab.raw.stats();
        // On rseq nobody counts the hits of these caches' inlined paths: no number is better than a wrong one.
        let counted = |stat: &Stat| {
            self.arena.backend() != BackendKind::Rseq || !matches!(stat, Stat::AllocFastpath | Stat::FreeFastpath)
        };
        Stat::ALL.iter().copied().filter(counted).map(|stat| (stat.name(), stats.get(stat))).collect()
    }

    fn finish(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for store in &self.stores {
            let Store::Cache(slab) = store else { continue };
            wrong.extend(slab.raw.validate().err().map(|error| error.to_string()));
            // SAFETY: every object was freed, and the copies of the handle die with this design.
            wrong.extend(unsafe { slab.raw.destroy() }.err().map(|error| error.to_string()));
        }
        wrong
    }
}

/// Bytes of the run for a large kmalloc: whole pages of a power of two, as the kernel's page allocator gives them.
fn run_bytes(object: &PlannedObject) -> usize {
    (object.bytes_alloc as usize).next_power_of_two().max(PAGE)
}
