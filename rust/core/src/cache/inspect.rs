//! What a cache says of itself: attributes, counters, whose an address is, and whether its free lists are whole.

use super::arena::Arena;
use super::attributes::CacheInfo;
use super::header::Cache;
use super::nodes::NodeStats;
use super::raw::RawCache;
use super::slabs::At;
use crate::error::Error;
use crate::pages::{NodeId, PageKind};
use crate::slab::{ObjRef, Slabs, Taken, harvest};
use crate::stats::Stat;

/// A cache's counters at one moment; exact when the cache is quiet.
#[derive(Clone, Debug)]
pub struct CacheStats {
    per_cpu: Vec<[u64; Stat::ALL.len()]>,
    /// Objects in all slabs, handed out or not.
    pub total_objects: u64,
    /// Slabs.
    pub slabs: u64,
    /// Slabs with free objects.
    pub partial: u64,
    /// Dead slabs whose pages wait for a grace period or for destructors; `slabs` and `total_objects` are without them.
    pub dead_slabs: u64,
    /// Objects handed out and not freed; one that was given to `free_rcu` counts until its grace period is over.
    pub objects: u64,
    /// Objects that were given to `free_rcu` and wait for their grace period.
    pub rcu_pending: u64,
    /// Sheaves and loose batches that they are in.
    pub rcu_sheaves: u64,
    /// Objects that lie free in sheaves, of CPUs and barns.
    pub in_sheaves: u64,
    /// Prefilled sheaves that are out.
    pub prefilled: u64,
    /// Objects in them.
    pub in_prefilled: u64,
    /// Sheaves in the barns: full, empty.
    pub barn: (u64, u64),
    /// The part of each node, by its number.
    pub nodes: Vec<NodeStats>,
}

impl CacheStats {
    /// A counter, summed over the CPUs.
    #[must_use]
    pub fn get(&self, stat: Stat) -> u64 {
        self.per_cpu.iter().map(|cpu| cpu[stat as usize]).fold(0, u64::wrapping_add)
    }

    /// A counter of one CPU; 0 for a CPU that is not there.
    #[must_use]
    pub fn per_cpu(&self, cpu: u32, stat: Stat) -> u64 {
        self.per_cpu.get(cpu as usize).map_or(0, |counters| counters[stat as usize])
    }

    /// Prefilled sheaves that are out, and the objects in them: what went out and did not come back, nor was taken.
    fn count_prefilled(&self) -> (u64, u64) {
        let sum = |stats: &[Stat]| stats.iter().map(|&stat| self.get(stat)).fold(0, u64::wrapping_add);
        let out = sum(&[Stat::SheafPrefillFast, Stat::SheafPrefillSlow, Stat::SheafPrefillOversize]);
        let back = sum(&[Stat::SheafReturnFast, Stat::SheafReturnSlow, Stat::SheafReturnOversize]);
        let gone = sum(&[Stat::AllocPrefilled, Stat::SheafReturnObjects]);
        (out.saturating_sub(back), self.get(Stat::SheafPrefillObjects).saturating_sub(gone))
    }

    /// A counter of hits in sheaves, from objects that were allocated and freed and that somebody else counted: each came or
    /// went some way, so what took no other was a hit. `None` for the other counters.
    #[must_use]
    pub fn hits(&self, stat: Stat, (allocs, frees): (u64, u64)) -> Option<u64> {
        let less = |all: u64, ways: &[Stat]| ways.iter().fold(all, |left, &way| left.saturating_sub(self.get(way)));
        match stat {
            Stat::AllocFastpath => Some(less(allocs, &[Stat::AllocSlowpath, Stat::AllocPrefilled])),
            Stat::FreeFastpath => Some(less(frees, &[Stat::FreeSlowpath, Stat::FreeRcuSheaf, Stat::FreeRcuSheafFail])),
            _ => None,
        }
    }

    /// How many CPUs there are figures for.
    #[must_use]
    pub fn cpus(&self) -> u32 {
        self.per_cpu.len() as u32
    }
}

/// Position of an object in its slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjIndex(pub u32);

impl RawCache {
    /// The cache's attributes.
    #[must_use]
    pub fn info(self) -> CacheInfo {
        let Cache { geometry, flags, counts_hits, arena, min_partial, .. } = self.header();
        CacheInfo {
            name: self.header().name().to_owned(),
            object_size: self.object_size(),
            slab_size: geometry.slab_size,
            align: geometry.align,
            order: geometry.order,
            objs_per_slab: geometry.objs_per_slab,
            min_partial: min_partial.get(),
            sheaf_capacity: geometry.sheaf_capacity,
            freeptr_offset: geometry.offset,
            flags: *flags,
            counts_hits: *counts_hits,
            backend: arena.kind,
        }
    }

    /// Bytes of an object that the user may touch; where several names share the cache, of the largest.
    #[inline]
    #[must_use]
    pub fn object_size(self) -> usize {
        self.header().object_bytes.get() as usize
    }

    /// The arena that the cache lives in.
    #[must_use]
    pub fn arena(self) -> &'static Arena {
        self.header().arena
    }

    /// The counters. Reads other CPUs' lines, changes nothing, may be called at any time from any thread.
    #[must_use]
    pub fn stats(self) -> CacheStats {
        let cache = self.header();
        // Areas of CPUs that the backend does not name (-1, -2: threads that the kernel refused to register) count for CPU 0.
        let (mut rcu_sheaves, mut per_cpu) = (0, Vec::with_capacity(cache.arena.cpus as usize));
        let mut nodes: Vec<_> = cache.nodes().map(|node| At::on(cache, 0).node_stats(node)).collect();
        for cpu in cache.cpus() {
            let mut counters = [0; Stat::ALL.len()];
            for &stat in Stat::ALL {
                let nameless = if cpu == 0 { cache.stat(-1, stat).get() + cache.stat(-2, stat).get() } else { 0 };
                counters[stat as usize] = cache.stat(cpu, stat).get() + nameless;
            }
            // SAFETY: the cache's own slots.
            let (pair, (allocs, frees)) =
                unsafe { (cache.backend.peek(cache.slots(), cpu), cache.backend.peek_hits(cache.slots(), cpu)) };
            counters[Stat::AllocFastpath as usize] += allocs;
            counters[Stat::FreeFastpath as usize] += frees;
            let (waiting, has_sheaf) = At::on(cache, cpu).on_rcu_sheaf(cpu);
            counters[Stat::FreeRcuSheaf as usize] += waiting;
            rcu_sheaves += u64::from(has_sheaf);
            per_cpu.push(counters);
            let level = |cursor: *mut u64| {
                let none = cursor.is_null() || cursor == crate::percpu::stop();
                if none { 0 } else { u64::from(cache.shape.level(cursor)) }
            };
            nodes[usize::from(cache.arena.node_of(cpu).0)].in_cpus += level(pair.main) + level(pair.spare);
        }
        let sum = |of: fn(&NodeStats) -> u64| nodes.iter().map(of).sum();
        let mut stats = CacheStats {
            per_cpu,
            total_objects: sum(|node| node.total_objects),
            slabs: sum(|node| node.slabs),
            partial: sum(|node| node.partial),
            dead_slabs: sum(|node| node.dead_slabs),
            objects: 0,
            rcu_pending: 0,
            rcu_sheaves: rcu_sheaves + cache.rcu.queued.get() + cache.rcu.open.get(),
            in_sheaves: sum(|node| node.in_barn + node.in_cpus),
            prefilled: 0,
            in_prefilled: 0,
            barn: (sum(|node| node.barn.0), sum(|node| node.barn.1)),
            nodes,
        };
        (stats.prefilled, stats.in_prefilled) = stats.count_prefilled();
        // What left the slabs and did not come back is with users or in sheaves.
        let left = stats.get(Stat::SheafRefill) + stats.get(Stat::AllocSlowpath);
        let back = stats.get(Stat::SheafFlush) + stats.get(Stat::FreeSlowpath);
        let given = stats.get(Stat::FreeRcuSheaf) + stats.get(Stat::FreeRcuSheafFail);
        stats.rcu_pending = given.saturating_sub(stats.get(Stat::FreeRcuDone));
        stats.objects = left.saturating_sub(back).saturating_sub(stats.in_sheaves + stats.in_prefilled);
        stats
    }

    /// Finds an address's place in this cache.
    ///
    /// # Errors
    /// [`Error::BadPointer`] for an address that is foreign or not the start of an object, [`Error::WrongCache`] for one of
    /// another cache.
    pub fn check(self, address: *const u8) -> Result<ObjIndex, Error> {
        let (cache, address_of) = (self.header(), address.addr());
        self.locate(address).map_err(|miss| match miss {
            Miss::Bad(why) => Error::BadPointer { cache: cache.name().to_owned(), address: address_of, why },
            Miss::Other(id) => {
                let owner = owner(cache.arena, id);
                Error::WrongCache { cache: cache.name().to_owned(), address: address_of, owner }
            }
        })
    }

    /// The node whose memory an object is of. Source: `page_to_nid(virt_to_page(object))`.
    ///
    /// # Errors
    /// As [`RawCache::check`].
    pub fn node_of(self, object: *const u8) -> Result<u32, Error> {
        self.check(object)?;
        Ok(u32::from(At::new(self.header()).map_of(object.cast_mut()).node().0))
    }

    /// [`RawCache::check`] without names: takes no lock.
    pub(super) fn locate(self, address: *const u8) -> Result<ObjIndex, Miss> {
        let cache = self.header();
        let at = At::new(cache);
        let word = match cache.arena.pages.page_of(address.addr()) {
            Some(page) => cache.arena.pages.map(page),
            None => return Err(Miss::Bad("the address is foreign: outside of the arena")),
        };
        if word.kind() != PageKind::Slab {
            return Err(Miss::Bad("the address lies in no slab"));
        }
        if word.cache() != cache.id {
            return Err(Miss::Other(word.cache()));
        }
        let offset = address.addr().wrapping_sub(at.base(word.descriptor()).addr());
        let (index, total) = (offset / cache.geometry.slab_size, at.total(word.descriptor()) as usize);
        let dead = at.word(word.descriptor()).load(at.form()).dead;
        if dead || at.map_of(address.cast_mut()) != word {
            return Err(Miss::Bad("the slab that the address lay in has just gone"));
        }
        if !offset.is_multiple_of(cache.geometry.slab_size) || index >= total {
            return Err(Miss::Bad("the address is interior or misaligned: not the start of an object"));
        }
        Ok(ObjIndex(index as u32))
    }

    /// Checks every free list and every sheaf of the cache, as far as they can be had without stopping anybody: partial
    /// slabs and barn sheaves are taken out one by one, looked at and put back. Full slabs have no free list.
    ///
    /// # Errors
    /// [`Error::Corruption`] with a text per finding. A list that is broken is not put back: its objects are lost rather
    /// than handed out.
    pub fn validate(self) -> Result<(), Error> {
        let cache = self.header();
        let at = At::new(cache);
        let mut reports = Vec::new();
        for cpu in cache.cpus() {
            at.drain(cpu);
        }
        at.validate_rcu(&mut reports);
        for node in cache.nodes() {
            at.validate_barn(node, &mut reports);
            at.validate_slabs(node, &mut reports);
        }
        at.settle();
        if reports.is_empty() { Ok(()) } else { Err(Error::Corruption { cache: cache.name().to_owned(), reports }) }
    }
}

/// Why an address is no object of a cache.
pub(super) enum Miss {
    /// It is no object at all.
    Bad(&'static str),
    /// It lies in a slab of the cache with that id.
    Other(u16),
}

/// The primary's name of a living cache, by the id in the page map.
fn owner(arena: &Arena, id: u16) -> String {
    arena.registry().primary_of(id).unwrap_or("?").to_owned()
}

impl At<'_> {
    /// The sheaves of `free_rcu`, which are handed over for it.
    fn validate_rcu(&self, reports: &mut Vec<String>) {
        // `check` would ask the registry for the owner's name, whose lock comes before those that are held here.
        self.each_rcu_object(|node, object| {
            let word = self.map_of(object);
            let ours = word.kind() == PageKind::Slab && word.cache() == self.cache.id;
            let offset = if ours { object.addr().wrapping_sub(self.base(word.descriptor()).addr()) } else { 1 };
            if !offset.is_multiple_of(self.cache.geometry.slab_size) {
                reports.push(format!("an rcu sheaf of node {} holds {object:p}, no object of the cache", node.0));
            }
        });
    }

    fn validate_barn(&self, node: NodeId, reports: &mut Vec<String>) {
        let full = self.cache.barn(node).full(self.cache.form());
        let mut seen = Vec::new();
        for _ in 0..full {
            let Some(sheaf) = self.barn_full(node) else { break };
            for &object in sheaf.objects(self.cache.shape) {
                if let Err(error) = RawCache::of(self.cache).check(object) {
                    reports.push(format!("a sheaf of node {} holds {object:p}: {error}", node.0));
                }
            }
            seen.push(sheaf);
        }
        for sheaf in seen.into_iter().rev() {
            self.put_in_barn(node, sheaf);
        }
    }

    fn validate_slabs(&self, node: NodeId, reports: &mut Vec<String>) {
        let mut sound = Vec::new();
        let listed = self.cache.node(node).partial(self.cache.form());
        for _ in 0..listed {
            let mut list = None;
            harvest(self, self.cache.node(node), 1, |slab, head, free| {
                list = Some((slab, head, free));
                Taken { used: free, rest: ObjRef::NONE }
            });
            let Some((slab, head, free)) = list else { break };
            match self.walk(slab, head, free) {
                Ok(()) => sound.push((slab, head, free)),
                Err(what) => reports.push(format!("slab at {:p}: {what}", self.base(slab))),
            }
        }
        for (slab, head, free) in sound.into_iter().rev() {
            crate::slab::give_back(self, slab, head, free);
        }
    }

    /// Follows a free list that is ours, trusting nothing in it.
    fn walk(&self, slab: u32, head: ObjRef, free: u32) -> Result<(), String> {
        let (base, stride, total) = (self.base(slab).addr(), self.cache.geometry.slab_size, self.total(slab));
        let mut seen = vec![false; total as usize];
        let mut object = self.object(slab, head);
        for n in 0..free {
            let offset = object.addr().wrapping_sub(base);
            if object.is_null() || !offset.is_multiple_of(stride) || offset / stride >= total as usize {
                return Err(format!("free pointer {n} of {free} leads to {object:p}, which is no object of the slab"));
            }
            if core::mem::replace(&mut seen[offset / stride], true) {
                return Err(format!("the free list comes back to {object:p} after {n} of {free} objects"));
            }
            object = self.next_of(object);
        }
        if object.is_null() { Ok(()) } else { Err(format!("the free list goes on to {object:p} after {free} objects")) }
    }
}
