//! A small model of one cache's policy on one thread, written from the text of the policy (docs/replay.md, "What serves an
//! allocation") and not from the allocator's code: plain vectors, no addresses, no atomics.

use haybarn::Stat;
use std::collections::{BTreeMap, VecDeque};

/// Full sheaves that a barn takes at least before frees begin to flush, and bytes of objects up to which it takes more.
const BARN_FULL: usize = 10;
const BARN_BYTES: usize = 128 * 1024;

/// An object: its slab, and its index there.
pub type Object = (usize, u32);

/// The level that served an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Sheaf,
    Barn,
    Partial,
    NewSlab,
}

/// Numbers of a cache that the policy takes as given.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    pub cpus: usize,
    pub nodes: usize,
    pub capacity: usize,
    pub stride: usize,
    pub objects_per_slab: u32,
    pub min_partial: usize,
}

/// A sheaf, and whether it came empty into its slot, for frees to fill.
#[derive(Default)]
struct Sheaf {
    objects: Vec<Object>,
    came_empty: bool,
}

#[derive(Default)]
struct Cpu {
    main: Sheaf,
    spare: Option<Sheaf>,
}

#[derive(Default)]
struct Node {
    full: Vec<Vec<Object>>,
    /// Empty sheaves are all alike.
    empty: usize,
    /// Slabs with free objects, top last.
    partial: Vec<usize>,
    /// Refills that found no partial slab here any more.
    tries: usize,
}

struct Slab {
    node: usize,
    /// Free objects, the next one first.
    chain: VecDeque<u32>,
}

impl Numbers {
    fn barn_full(&self) -> usize {
        BARN_FULL.max(BARN_BYTES / (self.capacity * self.stride))
    }
}

/// The cache.
pub struct Model {
    numbers: Numbers,
    cpus: Vec<Cpu>,
    nodes: Vec<Node>,
    slabs: Vec<Slab>,
    counters: BTreeMap<&'static str, u64>,
}

impl Model {
    pub fn new(numbers: Numbers) -> Self {
        let mut model = Model {
            numbers,
            cpus: (0..numbers.cpus).map(|_| Cpu::default()).collect(),
            nodes: (0..numbers.nodes).map(|_| Node::default()).collect(),
            slabs: Vec::new(),
            counters: BTreeMap::new(),
        };
        // Each CPU begins with an empty main sheaf, which was made.
        model.count(Stat::SheafAlloc, numbers.cpus);
        model
    }

    pub fn counter(&self, stat: Stat) -> u64 {
        self.counters.get(stat.name()).copied().unwrap_or(0)
    }

    /// Slabs that hold pages now.
    pub fn slabs(&self) -> u64 {
        self.counter(Stat::AllocSlab) - self.counter(Stat::FreeSlab)
    }

    fn count(&mut self, stat: Stat, by: usize) {
        *self.counters.entry(stat.name()).or_insert(0) += by as u64;
    }

    fn node_of(&self, cpu: usize) -> usize {
        cpu * self.numbers.nodes / self.numbers.cpus
    }

    pub fn alloc(&mut self, cpu: usize) -> (Object, Level) {
        self.count(Stat::AllocFastpath, 1);
        if let Some(object) = self.cpus[cpu].main.objects.pop() {
            return (object, Level::Sheaf);
        }
        let here = &mut self.cpus[cpu];
        if let Some(spare) = here.spare.as_mut().filter(|spare| !spare.objects.is_empty()) {
            std::mem::swap(&mut here.main, spare);
            return (here.main.objects.pop().unwrap(), Level::Sheaf);
        }
        let node = self.node_of(cpu);
        if let Some(full) = self.nodes[node].full.pop() {
            self.nodes[node].empty += 1;
            self.cpus[cpu].main = Sheaf { objects: full, came_empty: false };
            self.count(Stat::BarnGet, 1);
            if let Some(second) = self.nodes[node].full.pop() {
                self.nodes[node].empty += usize::from(self.cpus[cpu].spare.is_some());
                self.cpus[cpu].spare = Some(Sheaf { objects: second, came_empty: false });
                self.count(Stat::BarnGet, 1);
            }
            return (self.cpus[cpu].main.objects.pop().unwrap(), Level::Barn);
        }
        self.count(Stat::BarnGetFail, 1);
        if self.cpus[cpu].spare.take().is_none() {
            self.take_empty(node);
        }
        let (objects, level) = self.refill(node);
        // Its spare was none or is the sheaf that was filled: the emptied main becomes the spare.
        let here = &mut self.cpus[cpu];
        here.spare = Some(std::mem::replace(&mut here.main, Sheaf { objects, came_empty: false }));
        (here.main.objects.pop().unwrap(), level)
    }

    /// An empty sheaf of the barn, or a new one.
    fn take_empty(&mut self, node: usize) {
        if self.nodes[node].empty > 0 {
            self.nodes[node].empty -= 1;
        } else {
            self.count(Stat::SheafAlloc, 1);
        }
    }

    /// Takes the free objects of a node's partial slabs until the sheaf is full.
    fn harvest(&mut self, sheaf: &mut Vec<Object>, node: usize) {
        let capacity = self.numbers.capacity;
        while sheaf.len() < capacity
            && let Some(slab) = self.nodes[node].partial.pop()
        {
            let chain = &mut self.slabs[slab].chain;
            while sheaf.len() < capacity
                && let Some(index) = chain.pop_front()
            {
                sheaf.push((slab, index));
            }
            if !chain.is_empty() {
                self.nodes[node].partial.push(slab);
                self.count(Stat::FreeAddPartial, 1);
            }
        }
    }

    /// The nodes that lend to one whose partial slabs are used up, docs/nodes.md: all at once by 1001 of 1024 tries, in the order
    /// of a ring, those that have more partial slabs than they keep.
    fn lenders(&mut self, node: usize) -> Vec<usize> {
        let nodes = self.numbers.nodes;
        if nodes == 1 {
            return Vec::new();
        }
        let nth = self.nodes[node].tries;
        self.nodes[node].tries += 1;
        if nth * 397 % 1024 > 1000 {
            return Vec::new();
        }
        (1..nodes).map(|step| (node + step) % nodes).collect()
    }

    fn refill(&mut self, node: usize) -> (Vec<Object>, Level) {
        let capacity = self.numbers.capacity;
        let mut sheaf = Vec::new();
        self.harvest(&mut sheaf, node);
        if sheaf.len() < capacity {
            for other in self.lenders(node) {
                if sheaf.len() < capacity && self.nodes[other].partial.len() > self.numbers.min_partial {
                    self.harvest(&mut sheaf, other);
                }
            }
        }
        let mut level = Level::Partial;
        while sheaf.len() < capacity {
            level = Level::NewSlab;
            let total = self.numbers.objects_per_slab;
            let taken = total.min((capacity - sheaf.len()) as u32);
            let slab = self.slabs.len();
            sheaf.extend((0..taken).rev().map(|index| (slab, index)));
            self.slabs.push(Slab { node, chain: (taken..total).collect() });
            if taken < total {
                self.nodes[node].partial.push(slab);
            }
            self.count(Stat::AllocSlab, 1);
        }
        self.count(Stat::SheafRefill, sheaf.len());
        (sheaf, level)
    }

    pub fn free(&mut self, cpu: usize, object: Object) {
        let node = self.node_of(cpu);
        if self.slabs[object.0].node != node {
            self.count(Stat::FreeSlowpath, 1);
            self.free_to_slab(object.0, &[object.1]);
            return;
        }
        self.count(Stat::FreeFastpath, 1);
        if self.cpus[cpu].main.objects.len() == self.numbers.capacity {
            self.make_room(cpu, node);
        }
        self.cpus[cpu].main.objects.push(object);
    }

    /// Main is full: puts a sheaf with room in its place.
    fn make_room(&mut self, cpu: usize, node: usize) {
        let capacity = self.numbers.capacity;
        let room = self.numbers.barn_full().saturating_sub(self.nodes[node].full.len());
        let here = &mut self.cpus[cpu];
        let empty = Sheaf { objects: Vec::new(), came_empty: true };
        match &mut here.spare {
            Some(spare) if spare.objects.len() < capacity => std::mem::swap(&mut here.main, spare),
            None => {
                here.spare = Some(std::mem::replace(&mut here.main, empty));
                self.take_empty(node);
            }
            Some(_) if room == 0 => {
                let spare = here.spare.take().unwrap();
                here.spare = Some(std::mem::replace(&mut here.main, empty));
                self.count(Stat::BarnPutFail, 1);
                self.flush(&spare.objects);
            }
            // Frees have filled main: both sheaves go, if the barn has as many empty ones.
            Some(spare) if room > 1 && here.main.came_empty && self.nodes[node].empty > 1 => {
                let spare = std::mem::replace(spare, Sheaf { objects: Vec::new(), came_empty: true });
                let main = std::mem::replace(&mut here.main, empty);
                self.nodes[node].full.extend([spare.objects, main.objects]);
                self.nodes[node].empty -= 2;
                self.count(Stat::BarnPut, 2);
            }
            Some(_) => {
                let full = std::mem::replace(&mut here.main, empty);
                self.nodes[node].full.push(full.objects);
                self.count(Stat::BarnPut, 1);
                self.take_empty(node);
            }
        }
    }

    fn flush(&mut self, sheaf: &[Object]) {
        self.count(Stat::SheafFlush, sheaf.len());
        let mut groups: Vec<(usize, Vec<u32>)> = Vec::new();
        for &(slab, index) in sheaf.iter().rev() {
            match groups.iter_mut().find(|group| group.0 == slab) {
                Some(group) => group.1.push(index),
                None => groups.push((slab, vec![index])),
            }
        }
        for (slab, chain) in groups {
            self.free_to_slab(slab, &chain);
        }
    }

    fn free_to_slab(&mut self, slab: usize, chain: &[u32]) {
        let free = self.slabs[slab].chain.len();
        let node = &mut self.nodes[self.slabs[slab].node];
        let all = free + chain.len() == self.numbers.objects_per_slab as usize;
        if all && node.partial.len() >= self.numbers.min_partial {
            self.slabs[slab].chain.clear();
            let listed = node.partial.iter().position(|&other| other == slab);
            if let Some(at) = listed {
                node.partial.remove(at);
                self.count(Stat::FreeRemovePartial, 1);
            }
            self.count(Stat::FreeSlab, 1);
            return;
        }
        if free == 0 {
            node.partial.push(slab);
            self.count(Stat::FreeAddPartial, 1);
        }
        for &index in chain.iter().rev() {
            self.slabs[slab].chain.push_front(index);
        }
    }
}
