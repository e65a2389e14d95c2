//! A cache's slabs as the slab protocol sees them, and the making of a new one.

use super::construct::{Failed, construct_slab};
use super::header::Cache;
use crate::pages::{MapWord, MetaLinks, NodeId, Order, PAGE_SIZE, PageIndex, PageKind};
use crate::percpu::Cpu;
use crate::rcu;
use crate::slab::geometry::Geometry;
use crate::slab::{Descriptor, NodeSlabs, ObjRef, Slabs, free_chain, publish};
use crate::stats::Stat;
use crate::sync::{DoubleWord, Form, Index, Link, Links};
use core::ptr::NonNull;

/// See [`At`]'s place.
const NOLOCK: i64 = 1;

/// A cache, as an operation on one CPU sees it: counters go to that CPU's.
///
/// Two words, so that it passes in two registers. With CPU and mark as fields of their own it is written to memory in pieces and read
/// back whole, and a processor waits for that until the pieces have reached its cache.
#[derive(Clone, Copy)]
pub(super) struct At<'c> {
    pub cache: &'c Cache,
    /// The CPU, and in the lowest bit whether the caller may be a signal handler: nothing new comes from the system then, no slab
    /// dies, and no foreign code runs.
    place: i64,
}

/// Pages of a slab, copied out of its descriptor.
#[derive(Clone, Copy)]
pub(super) struct Run {
    page: PageIndex,
    order: Order,
}

/// Whose pages a new slab may be made of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pages {
    /// Those of the node that it is for, and no others.
    OfNode,
    /// Another node's, where that one's are out: then the slab is the other node's.
    Any,
}

/// Dead slabs of a node after which frees kill no more: an empty slab stays then, and serves the next allocations.
pub(super) const ROOM: u64 = if cfg!(shuttle) { 2 } else { 64 };

/// A slab that nobody else knows yet: its objects are at `base + n * stride`.
pub(super) struct NewSlab {
    pub slab: Index,
    pub base: NonNull<u8>,
    pub total: u32,
}

impl Links for At<'_> {
    fn link(&self, index: Index) -> &Link {
        self.links().get(index)
    }
}

impl<'c> At<'c> {
    #[inline]
    pub fn new(cache: &'c Cache) -> Self {
        Self::on(cache, cache.backend.cpu())
    }

    /// As if on that CPU.
    pub fn on(cache: &'c Cache, cpu: Cpu) -> Self {
        Self { cache, place: i64::from(cpu) << 1 }
    }

    /// For an operation that may be inside a signal handler.
    pub fn nolock(cache: &'c Cache) -> Self {
        let at = Self::new(cache);
        Self { place: at.place | NOLOCK, ..at }
    }

    /// The CPU that the operation is on, as far as it knows.
    pub fn cpu(&self) -> Cpu {
        (self.place >> 1) as Cpu
    }

    /// The operation found itself on another CPU.
    pub fn go_to(&mut self, cpu: Cpu) {
        self.place = i64::from(cpu) << 1 | self.place & NOLOCK;
    }

    /// Whether the operation may be inside a signal handler.
    pub fn is_nolock(&self) -> bool {
        self.place & NOLOCK != 0
    }

    pub fn home(&self) -> NodeId {
        self.cache.arena.node_of(self.cpu())
    }

    pub fn bump(&self, stat: Stat, n: u64) {
        self.cache.bump(self.cpu(), stat, n);
    }

    pub fn links(&self) -> MetaLinks<'c> {
        MetaLinks(self.cache.arena.pages.meta())
    }

    /// No reference: a thread that lost a race for the slab's last user may be here while the next one writes plain fields.
    fn descriptor(&self, slab: Index) -> *mut Descriptor {
        self.cache.arena.pages.meta().at(slab).cast().as_ptr()
    }

    /// Address of a slab's first byte.
    pub fn base(&self, slab: Index) -> *mut u8 {
        self.cache.arena.pages.address(self.run(slab).page)
    }

    /// The slab of an object of this cache.
    pub fn slab_of(&self, object: *mut u8) -> Index {
        self.map_of(object).descriptor()
    }

    pub fn map_of(&self, object: *mut u8) -> MapWord {
        let pages = &self.cache.arena.pages;
        pages.page_of(object.addr()).map_or(MapWord::NONE, |page| pages.map(page))
    }

    fn coded(&self, place: *mut u64, next: u64) -> u64 {
        next ^ self.cache.cookie ^ ((place.addr() as u64).swap_bytes() & self.cache.swap_mask)
    }

    fn place(&self, object: *mut u8) -> *mut u64 {
        object.wrapping_add(self.cache.geometry.offset).cast()
    }

    /// The free pointer of an object that the caller owns.
    pub fn next_of(&self, object: *mut u8) -> *mut u8 {
        let place = self.place(object);
        // SAFETY: geometry puts the free pointer inside the object's stride, 8-byte aligned.
        core::ptr::with_exposed_provenance_mut(self.coded(place, unsafe { *place }) as usize)
    }

    /// Links an object that the caller owns to the next; null ends the chain.
    pub fn link_to(&self, object: *mut u8, next: *mut u8) {
        let place = self.place(object);
        // SAFETY: as in `next_of`.
        unsafe { *place = self.coded(place, next.expose_provenance() as u64) };
    }

    pub fn reference(&self, slab: Index, object: *mut u8) -> ObjRef {
        if object.is_null() { ObjRef::NONE } else { ObjRef::at(object.addr() - self.base(slab).addr()) }
    }

    pub fn object(&self, slab: Index, reference: ObjRef) -> *mut u8 {
        if reference.is_none() { core::ptr::null_mut() } else { self.base(slab).wrapping_add(reference.offset()) }
    }

    /// Gives one object straight to its slab.
    #[inline(never)]
    #[unsafe(link_section = "haybarn_slab_free")]
    pub fn free_to_slab(&self, object: *mut u8) {
        let slab = self.slab_of(object);
        let reference = self.reference(slab, object);
        free_chain(self, slab, reference, reference, 1);
    }

    /// Makes a slab for a node: of the preferred order, else of the smallest. `None` when pages or metadata are out; under
    /// `nolock` also when they would have to come from the system, and where there is a constructor to run.
    ///
    /// # Errors
    /// A constructor failed; everything is as it was.
    #[unsafe(link_section = "haybarn_new_slab")]
    pub fn new_slab(&self, node: NodeId, pages: Pages) -> Result<Option<NewSlab>, Failed> {
        let geometry = &self.cache.geometry;
        let (descriptors, meta) = (&self.cache.arena.descriptors, self.cache.arena.pages.meta());
        let slab = match self.is_nolock() {
            true if self.cache.hooks.is_some() => None,
            true => descriptors.take_pooled(meta),
            false => descriptors.take(meta),
        };
        let Some(slab) = slab else { return Ok(None) };
        let preferred = (geometry.order, geometry.objs_per_slab);
        let fallback = (geometry.fallback_order, geometry.fallback_objs);
        let made = self.fill_descriptor(slab, node, pages, preferred).or_else(|| {
            (fallback.0 < preferred.0).then(|| self.fill_descriptor(slab, node, pages, fallback)).flatten()
        });
        let Some(made) = made else {
            self.recycle(slab);
            return Ok(None);
        };
        if let Err(failed) = construct_slab(self.cache, made.base, made.total) {
            self.unmake(&made);
            return Err(failed);
        }
        if self.run(slab).order.0 < preferred.0 {
            self.bump(Stat::OrderFallback, 1);
        }
        self.bump(Stat::AllocSlab, 1);
        Ok(Some(made))
    }

    /// Gives back what a slab that nobody ever knew was made of.
    fn unmake(&self, new: &NewSlab) {
        self.give_back_run(self.run(new.slab));
        self.recycle(new.slab);
    }

    #[unsafe(link_section = "haybarn_new_slab")]
    fn fill_descriptor(&self, slab: Index, node: NodeId, whose: Pages, shape: (u8, u32)) -> Option<NewSlab> {
        let pages = &self.cache.arena.pages;
        let (order, total) = (Order(shape.0), shape.1);
        let cpu = self.cpu() as u32;
        let page = match whose {
            _ if self.is_nolock() => pages.alloc_touched_run(order, node, whose == Pages::OfNode, cpu)?,
            _ if order > Order::MAX => pages.alloc_span(PAGE_SIZE << order.0)?,
            Pages::OfNode => pages.alloc_run_of_node(order, node, cpu)?,
            Pages::Any => pages.alloc_run(order, node, cpu)?,
        };
        // Spans are nobody's until they are somebody's.
        let node = pages.node_of_run(page).unwrap_or(node);
        let descriptor = self.descriptor(slab);
        // SAFETY: the descriptor came from the pool and is ours until it is published. `link` and `word` are left alone:
        // threads that lost a race for its last slab may still read them.
        unsafe {
            (*descriptor).cache = self.cache.slots().0.expose_provenance() as u64;
            (*descriptor).page = page.0;
            (*descriptor).total = total;
            (*descriptor).order = order.0;
            (*descriptor).node = node.0;
        }
        pages.set_map(page, order.pages(), MapWord::new(PageKind::Slab, order, node, self.cache.id, slab));
        let base = NonNull::new(pages.address(page))?;
        Some(NewSlab { slab, base, total })
    }

    /// Publishes a new slab of which the caller keeps the first `kept` objects: the rest becomes its free list.
    #[unsafe(link_section = "haybarn_new_slab")]
    pub fn publish(&self, new: &NewSlab, kept: u32) {
        let stride = self.cache.geometry.slab_size;
        let at = |n: u32| new.base.as_ptr().wrapping_add(n as usize * stride);
        for n in kept..new.total {
            self.link_to(at(n), if n + 1 < new.total { at(n + 1) } else { core::ptr::null_mut() });
        }
        let head = if kept < new.total { ObjRef::at(kept as usize * stride) } else { ObjRef::NONE };
        publish(self, new.slab, head, new.total - kept);
    }
}

impl At<'_> {
    #[inline(never)]
    #[unsafe(link_section = "haybarn_slab_gone")]
    fn give_back_run(&self, run: Run) {
        let pages = &self.cache.arena.pages;
        pages.clear_map(run.page, run.order.pages());
        if self.keeps(run) {
            return;
        }
        let given =
            if run.order <= Order::MAX { pages.free_run(run.page, run.order) } else { pages.free_span(run.page) };
        assert!(given.is_ok(), "a slab's pages were free already: the page bitmap is corrupt");
    }

    /// Whether the hooks' owner keeps the pages of a slab that is gone: then they are a run of [`Arena::alloc_pages`].
    fn keeps(&self, run: Run) -> bool {
        let pages = &self.cache.arena.pages;
        let base = NonNull::new(pages.address(run.page));
        let (Some(hooks), Some(base)) = (&self.cache.hooks, base) else { return false };
        // First: whom it is given may give it back at once.
        let kind = if run.order <= Order::MAX { PageKind::Run } else { PageKind::Span };
        pages.set_map(run.page, 1, MapWord::new(kind, run.order, NodeId(0), 0, 0));
        let kept = hooks.keep_run(base, PAGE_SIZE << run.order.0);
        if !kept {
            pages.clear_map(run.page, 1);
        }
        kept
    }
}

impl Slabs for At<'_> {
    type Run = Run;

    fn form(&self) -> Form {
        self.cache.form()
    }

    fn word(&self, slab: Index) -> &DoubleWord<crate::slab::SlabState> {
        // SAFETY: the index came from the page map or a stack of slabs, so it is that of a descriptor, whose memory is never
        // unmapped and always holds one; `word` is atomic.
        unsafe { &(*self.descriptor(slab)).word }
    }

    fn total(&self, slab: Index) -> u32 {
        // SAFETY: as in `word`. The plain fields are read by who holds an object of the slab or has popped it; who merely
        // asks (`check`) looks at the page map again afterwards, hence volatile.
        unsafe { (&raw const (*self.descriptor(slab)).total).read_volatile() }
    }

    fn run(&self, slab: Index) -> Run {
        let descriptor = self.descriptor(slab);
        // SAFETY: as in `total`.
        unsafe {
            let (page, order) = (&raw const (*descriptor).page, &raw const (*descriptor).order);
            Run { page: PageIndex(page.read_volatile()), order: Order(order.read_volatile()) }
        }
    }

    fn node(&self, slab: Index) -> &NodeSlabs {
        // SAFETY: as in `total`.
        self.cache.node(NodeId(unsafe { (*self.descriptor(slab)).node }))
    }

    fn min_partial(&self) -> u64 {
        // With no end to them none dies, whatever that would have to run or to wake.
        if self.is_nolock() { u64::MAX } else { self.cache.min_partial.get() }
    }

    fn set_next(&self, slab: Index, object: ObjRef, next: ObjRef) {
        self.link_to(self.object(slab, object), self.object(slab, next));
    }

    fn next(&self, slab: Index, object: ObjRef) -> ObjRef {
        self.reference(slab, self.next_of(self.object(slab, object)))
    }

    fn release(&self, run: Run) {
        let Geometry { order, objs_per_slab, fallback_objs, .. } = self.cache.geometry;
        if self.cache.hooks.is_some() && !self.cache.defers_death {
            // In the graveyard, who runs the destructors counts.
            self.bump(Stat::DtorObject, u64::from(if run.order.0 == order { objs_per_slab } else { fallback_objs }));
        }
        self.give_back_run(run);
    }

    #[inline(never)]
    #[unsafe(link_section = "haybarn_slab_gone")]
    fn recycle(&self, slab: Index) {
        self.cache.arena.descriptors.put(self.cache.arena.pages.meta(), slab);
    }

    fn count(&self, stat: Stat, n: u64) {
        self.bump(stat, n);
    }

    fn defers(&self) -> bool {
        self.cache.defers_death
    }

    fn has_room_for_dead(&self, node: &NodeSlabs) -> bool {
        node.grave().dead() < ROOM
    }

    fn grave_link(&self, slab: Index) -> &Link {
        // SAFETY: as in `word`; `grave` is atomic.
        unsafe { &(*self.descriptor(slab)).grave }
    }

    fn wait_for(&self) -> Option<u64> {
        self.cache.is_type_safe().then(|| rcu::get_state().0)
    }

    fn is_over(&self, stamp: u64) -> bool {
        rcu::poll_quietly(rcu::Cookie(stamp))
    }

    fn set_stamp(&self, slab: Index, stamp: u64) {
        // SAFETY: the slab is dead and the caller's: nobody else reads or writes the field.
        unsafe { (*self.descriptor(slab)).stamp = stamp };
    }

    fn stamp(&self, slab: Index) -> u64 {
        // SAFETY: as in `set_stamp`.
        unsafe { (*self.descriptor(slab)).stamp }
    }
}
