//! A small honest allocator, and the ways in which it can be made to break a rule.

mod heap;
mod later;
mod site;

use crossbeam_utils::atomic::AtomicCell;
use haybarn::rcu::Cookie;
use haybarn_lab::oracle::subject::{Deferred, Identity};
use haybarn_lab::oracle::{Aside, Census, Subject};
use haybarn_lab::stress::{CacheSpec, Field, Heap, NoCache, Site};
use heap::FaultyHeap;
use site::FaultySite;
use std::collections::{BTreeMap, HashSet};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A rule that the allocator breaks, once every 100 calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    HandsOutTwice,
    Overlaps,
    Misaligns,
    LosesAnObject,
    LosesAndForgets,
    CorruptsNeighbour,
    DoesNotZero,
    Refuses,
    RefusesBulk,
    BulkRepeatsItself,
    HandsOutForeignMemory,
    MiscountsHits,
    MiscountsSlabs,
    DestroysWithLiveObjects,
    FailsValidation,
    CannotBeMade,
    PromisesTooMuch,
    SetsTooFewAside,
    FreesTooEarly,
    SetsUpTwice,
    ReusesReadStorage,
    DropsTheOwner,
    KeepsTheOwner,
    RoundsDown,
    ForgetsTheRest,
    LeavesTheTail,
}

/// Makes caches with one fault.
pub struct FaultyField(pub Fault);

impl Field for FaultyField {
    fn backend(&self) -> &str {
        "faulty"
    }

    fn cache(&self, label: &str, spec: CacheSpec) -> Result<Box<dyn Subject>, NoCache> {
        if self.0 == Fault::CannotBeMade {
            return Err(NoCache::Refused("no cache today".into()));
        }
        Ok(Box::new(Faulty::new(self.0, label, spec)))
    }

    fn site(&self, label: &str, spec: CacheSpec) -> Box<dyn Site> {
        let (fault, label) = (self.0, label.to_owned());
        Box::new(FaultySite::new(fault, move || Faulty::new(fault, &label, spec)))
    }

    fn heap(&self, _label: &str) -> Result<Box<dyn Heap>, NoCache> {
        Ok(Box::new(FaultyHeap::new(self.0)))
    }

    fn enter(&self, _thread: u32) {}

    fn hop(&self, _rng: &mut haybarn_lab::stress::Rng) {
        std::thread::yield_now();
    }
}

const PER_SLAB: usize = 16;

struct Faulty {
    fault: Fault,
    name: String,
    size: usize,
    align: usize,
    stride: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    calls: u64,
    free: Vec<usize>,
    live: HashSet<usize>,
    /// Freed, but not before a grace period is over.
    waiting: Vec<(usize, Cookie)>,
    newest: usize,
    /// How many objects of each slab are free, by its first address.
    slabs: BTreeMap<usize, usize>,
    made: u64,
    shrunk: u64,
    frees: u64,
    allocs: u64,
}

/// All memory of the faulty allocators: never given back, so that a fault can never reach memory of the test itself.
fn region(bytes: usize) -> usize {
    static NEXT: AtomicCell<usize> = AtomicCell::new(0);
    static BASE: Mutex<Option<usize>> = Mutex::new(None);
    const REGION: usize = 1 << 34;
    let base = *BASE.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| {
        // SAFETY: a fresh private mapping that touches nothing that exists.
        let base = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            libc::mmap(std::ptr::null_mut(), REGION, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        assert_ne!(base, libc::MAP_FAILED);
        base as usize
    });
    // A gap: objects that overlap or are not where they should be reach over the end, and beyond it lies another test's memory.
    const GAP: usize = 1 << 14;
    let offset = NEXT.fetch_add(bytes.next_multiple_of(4096) + GAP);
    assert!(offset + bytes + GAP <= REGION);
    base + offset
}

impl Faulty {
    fn new(fault: Fault, label: &str, spec: CacheSpec) -> Self {
        let align = spec.align.max(8);
        let stride = spec.size.next_multiple_of(align);
        let name = format!("{label}-{}", spec.size);
        Self { fault, name, size: spec.size, align, stride, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, state: &mut State) -> usize {
        if state.free.is_empty() {
            let slab = region(self.stride * PER_SLAB);
            state.made += 1;
            state.slabs.insert(slab, PER_SLAB);
            state.free.extend((0..PER_SLAB).rev().map(|index| slab + index * self.stride));
        }
        let object = state.free.pop().expect("just filled");
        *self.slab(state, object).expect("an object of a slab") -= 1;
        state.live.insert(object);
        state.newest = object;
        state.allocs += 1;
        object
    }

    fn slab<'a>(&self, state: &'a mut State, object: usize) -> Option<&'a mut usize> {
        let (first, free) = state.slabs.range_mut(..=object).next_back()?;
        (object < first + self.stride * PER_SLAB).then_some(free)
    }

    fn give(&self, state: &mut State, object: usize) {
        state.calls += 1;
        let faulty = state.calls.is_multiple_of(100);
        state.live.remove(&object);
        state.frees += 1;
        match self.fault {
            Fault::LosesAnObject if faulty => drop(state.live.insert(object)),
            Fault::LosesAndForgets if faulty => {}
            _ => {
                if let Some(free) = self.slab(state, object) {
                    *free += 1;
                    state.free.push(object);
                }
            }
        }
    }
}

impl Subject for Faulty {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> usize {
        self.size
    }

    fn align(&self) -> usize {
        self.align
    }

    fn alloc(&self, zero: bool) -> Option<NonNull<u8>> {
        let mut state = self.state();
        state.calls += 1;
        // Never with zeroes: whoever holds what they go to may see them before the claim that is to fail.
        let faulty = state.calls.is_multiple_of(100) && !zero;
        let newest = Some(state.newest).filter(|newest| state.live.contains(newest));
        if faulty && self.fault == Fault::Refuses {
            return None;
        }
        let object = self.take(&mut state);
        let out = match (self.fault, newest) {
            (Fault::HandsOutTwice, Some(newest)) if faulty => newest,
            (Fault::Overlaps, Some(newest)) if faulty => newest + self.align,
            (Fault::Misaligns, _) if faulty => object + 4,
            (Fault::HandsOutForeignMemory, _) if state.calls > 100 => region(self.stride),
            _ => object,
        };
        if let (Fault::CorruptsNeighbour, Some(newest)) = (self.fault, newest)
            && faulty
        {
            // SAFETY: an object of this allocator; that its holder does not expect this is the fault.
            unsafe { (newest as *mut u8).add(self.size / 2 / 64 * 64).write(0x5a) };
        }
        if zero && self.fault != Fault::DoesNotZero {
            // SAFETY: memory of this allocator's region, whose objects are `size` long.
            unsafe { (out as *mut u8).write_bytes(0, self.size) };
        }
        NonNull::new(out as *mut u8)
    }

    unsafe fn free(&self, object: NonNull<u8>) {
        self.give(&mut self.state(), object.as_ptr() as usize);
    }

    fn alloc_bulk(&self, out: &mut [*mut u8]) -> bool {
        let mut state = self.state();
        state.calls += 1;
        if self.fault == Fault::RefusesBulk && state.calls.is_multiple_of(50) {
            return false;
        }
        for place in out.iter_mut() {
            *place = self.take(&mut state) as *mut u8;
        }
        if self.fault == Fault::BulkRepeatsItself && out.len() > 2 {
            out[2] = out[0];
        }
        true
    }

    unsafe fn free_bulk(&self, objects: &mut [*mut u8]) {
        for object in objects {
            self.give(&mut self.state(), *object as usize);
        }
    }

    fn prefill(&self, n: usize) -> Option<Box<dyn Aside + '_>> {
        let mut aside = SetAside { cache: self, objects: Vec::new() };
        aside.refill(n).then(|| Box::new(aside) as Box<dyn Aside>)
    }

    fn deferred(&self) -> Option<&dyn Deferred> {
        Some(self)
    }

    fn check(&self, object: NonNull<u8>) -> Result<(), String> {
        let address = object.as_ptr() as usize;
        if self.slab(&mut self.state(), address).is_some() { Ok(()) } else { Err(format!("{address:#x} is foreign")) }
    }

    fn shrink(&self) -> u64 {
        let mut state = self.state();
        let before = state.slabs.len();
        state.slabs.retain(|_, free| *free < PER_SLAB);
        let mut free = std::mem::take(&mut state.free);
        free.retain(|object| self.slab(&mut state, *object).is_some());
        state.free = free;
        let gone = (before - state.slabs.len()) as u64;
        state.shrunk += gone;
        gone
    }

    fn census(&self) -> Census {
        let state = self.state();
        let more = u64::from(self.fault == Fault::MiscountsHits);
        Census {
            objects: state.live.len() as u64,
            slabs: state.slabs.len() as u64,
            identities: vec![Identity {
                what: "slabs",
                there: state.slabs.len() as u64 + u64::from(self.fault == Fault::MiscountsSlabs),
                counted: state.made - state.shrunk,
            }],
            hits: Some((state.allocs + more, state.frees)),
            counters: Default::default(),
        }
    }

    fn validate(&self) -> Result<(), String> {
        if self.fault == Fault::FailsValidation { Err("a chain runs in a circle".into()) } else { Ok(()) }
    }

    unsafe fn destroy(&self) -> Result<(), String> {
        match self.state().live.len() {
            live if live > 0 && self.fault != Fault::DestroysWithLiveObjects => Err(format!("{live} live objects")),
            _ => Ok(()),
        }
    }
}

struct SetAside<'f> {
    cache: &'f Faulty,
    objects: Vec<usize>,
}

impl Aside for SetAside<'_> {
    fn alloc(&mut self, zero: bool) -> Option<NonNull<u8>> {
        if self.cache.fault == Fault::PromisesTooMuch && self.objects.len() == 1 {
            return None;
        }
        let object = self.objects.pop()?;
        if zero {
            // SAFETY: memory of this allocator's region, whose objects are `size` long.
            unsafe { (object as *mut u8).write_bytes(0, self.cache.size) };
        }
        NonNull::new(object as *mut u8)
    }

    fn len(&self) -> usize {
        self.objects.len()
    }

    fn refill(&mut self, n: usize) -> bool {
        let short = usize::from(self.cache.fault == Fault::SetsTooFewAside && n > 20);
        let mut state = self.cache.state();
        while self.objects.len() + short < n {
            self.objects.push(self.cache.take(&mut state));
        }
        true
    }
}

impl Drop for SetAside<'_> {
    /// What was set aside and not taken counts neither as allocated nor as freed.
    fn drop(&mut self) {
        let mut state = self.cache.state();
        for object in self.objects.drain(..) {
            self.cache.give(&mut state, object);
            state.frees -= 1;
            state.allocs -= 1;
        }
    }
}
