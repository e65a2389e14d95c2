//! From events to a plan: which object each event is about, and what each cache is.
//!
//! Pointers are matched here, before any clock starts. An allocation makes a new object; a free finds the live object of its
//! pointer and counts for the cache that allocated it, whatever kind of free it is. An allocation of a pointer that is still
//! live first frees the old object (its own free left no event: an rcu sheaf, or a lost one).

#![forbid(unsafe_code)]

use super::kmalloc;
use crate::trace::{Event, Kind, NameId, Trace};
use rustc_hash::FxHashMap;

/// What stands behind a cache of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A cache that the trace names.
    Named,
    /// The kmalloc cache of this bucket, in bytes.
    Kmalloc(u32),
    /// Page runs above the largest kmalloc cache.
    Large,
}

/// A cache of the plan, with what the events say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedCache {
    /// Linux's name.
    pub name: String,
    /// What it is.
    pub origin: Origin,
    /// Largest size asked for, in bytes.
    pub bytes_req: u32,
    /// Largest size given, in bytes.
    pub bytes_alloc: u32,
    /// Allocations.
    pub allocs: u64,
    /// Frees, the implied ones too.
    pub frees: u64,
    /// Most objects live at once, in the recorded order.
    pub peak_objects: u64,
}

impl PlannedCache {
    /// Objects live at the end.
    #[must_use]
    pub fn live(&self) -> u64 {
        self.allocs - self.frees
    }
}

/// An object of the plan: one allocation, and at most one free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedObject {
    /// Index into [`Plan::caches`].
    pub cache: u32,
    /// Bytes asked for.
    pub bytes_req: u32,
    /// Bytes given by the kernel.
    pub bytes_alloc: u32,
}

/// One step of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// Index into [`Plan::objects`].
    pub object: u32,
    /// CPU: the recorded one until [`Plan::place`] says otherwise.
    pub cpu: u16,
    /// A free; else an allocation.
    pub free: bool,
}

/// Counts that no cache has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frees of objects that were still live when their pointer was allocated again.
    pub implied_frees: u64,
    /// Frees of NULL.
    pub null_frees: u64,
    /// Frees of pointers that no object has: allocated before the trace began.
    pub unmatched_frees: u64,
    /// Allocations that gave NULL in the kernel; nothing is replayed for them.
    pub failed_allocs: u64,
}

/// What will be done, in the recorded order.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The caches, in the order of their first allocation.
    pub caches: Vec<PlannedCache>,
    /// The objects, in the order of their allocation.
    pub objects: Vec<PlannedObject>,
    /// The steps.
    pub ops: Vec<Op>,
    /// Counts over all caches.
    pub counts: Counts,
}

impl Plan {
    /// Plans a trace. Pointers are matched within one file only: two files may come from two machines.
    ///
    /// # Panics
    /// If the trace has 2^32 allocations or more.
    #[must_use]
    pub fn new(trace: &Trace) -> Plan {
        let mut builder =
            Builder { trace, plan: Plan::default(), live: FxHashMap::default(), caches: FxHashMap::default() };
        for (file, &start) in trace.starts.iter().enumerate() {
            let end = trace.starts.get(file + 1).copied().unwrap_or(trace.events.len());
            builder.live.clear();
            for event in &trace.events[start..end] {
                builder.event(event);
            }
        }
        builder.plan
    }

    /// Gives each step the CPU that `cpu` says for its index and recorded CPU.
    pub fn place(&mut self, mut cpu: impl FnMut(usize, u16) -> u16) {
        for (index, op) in self.ops.iter_mut().enumerate() {
            op.cpu = cpu(index, op.cpu);
        }
    }

    /// The CPUs that have steps, ascending.
    #[must_use]
    pub fn cpus(&self) -> Vec<u16> {
        let mut seen = vec![false; usize::from(u16::MAX) + 1];
        for op in &self.ops {
            seen[usize::from(op.cpu)] = true;
        }
        (0..=u16::MAX).filter(|&cpu| seen[usize::from(cpu)]).collect()
    }
}

struct Builder<'t> {
    trace: &'t Trace,
    plan: Plan,
    live: FxHashMap<u64, u32>,
    caches: FxHashMap<Key, u32>,
}

#[derive(PartialEq, Eq, Hash)]
enum Key {
    Named(NameId),
    Kmalloc(u32, bool),
    Large,
}

impl Builder<'_> {
    fn event(&mut self, event: &Event) {
        let counts = &mut self.plan.counts;
        match (event.kind.is_alloc(), event.pointer) {
            (true, 0) => counts.failed_allocs += 1,
            (false, 0) => counts.null_frees += 1,
            (true, pointer) => {
                if let Some(old) = self.live.remove(&pointer) {
                    self.plan.counts.implied_frees += 1;
                    self.free(old, event.cpu);
                }
                let object = self.alloc(event);
                self.live.insert(pointer, object);
            }
            (false, pointer) => match self.live.remove(&pointer) {
                Some(object) => self.free(object, event.cpu),
                None => counts.unmatched_frees += 1,
            },
        }
    }

    fn alloc(&mut self, event: &Event) -> u32 {
        let index = self.cache(event);
        let cache = &mut self.plan.caches[index as usize];
        cache.allocs += 1;
        cache.peak_objects = cache.peak_objects.max(cache.live());
        cache.bytes_req = cache.bytes_req.max(event.bytes_req);
        cache.bytes_alloc = cache.bytes_alloc.max(event.bytes_alloc);
        let object = u32::try_from(self.plan.objects.len()).expect("fewer than 2^32 allocations");
        let planned = PlannedObject { cache: index, bytes_req: event.bytes_req, bytes_alloc: event.bytes_alloc };
        self.plan.objects.push(planned);
        self.plan.ops.push(Op { object, cpu: event.cpu, free: false });
        object
    }

    fn free(&mut self, object: u32, cpu: u16) {
        let cache = self.plan.objects[object as usize].cache;
        self.plan.caches[cache as usize].frees += 1;
        self.plan.ops.push(Op { object, cpu, free: true });
    }

    fn cache(&mut self, event: &Event) -> u32 {
        let (key, origin) = match event.kind {
            Kind::CacheAlloc | Kind::CacheFree => (Key::Named(event.name), Origin::Named),
            _ if event.bytes_alloc > kmalloc::MAX_CACHE_SIZE => (Key::Large, Origin::Large),
            _ => {
                let bucket = kmalloc::bucket(event.bytes_alloc);
                (Key::Kmalloc(bucket, event.accounted), Origin::Kmalloc(bucket))
            }
        };
        if let Some(&index) = self.caches.get(&key) {
            return index;
        }
        let name = match origin {
            Origin::Named => self.trace.names.text(event.name).to_owned(),
            Origin::Kmalloc(bucket) => kmalloc::name(bucket, event.accounted),
            Origin::Large => kmalloc::LARGE.to_owned(),
        };
        let index = self.cache_named(name, origin);
        self.caches.insert(key, index);
        index
    }

    /// A trace may also name a kmalloc cache itself (`kmem_cache_alloc ... name=kmalloc-64`): one cache, not two.
    fn cache_named(&mut self, name: String, origin: Origin) -> u32 {
        let caches = &mut self.plan.caches;
        let found = caches.iter().position(|cache| cache.name == name);
        let index = found.unwrap_or_else(|| {
            let (bytes_req, bytes_alloc) = (0, 0);
            caches.push(PlannedCache { name, origin, bytes_req, bytes_alloc, allocs: 0, frees: 0, peak_objects: 0 });
            caches.len() - 1
        });
        u32::try_from(index).expect("fewer caches than allocations")
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
