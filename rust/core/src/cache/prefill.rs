//! Prefilled sheaves: objects set aside beforehand, so that taking them cannot fail.
//!
//! A sheaf that is out is its holder's alone: no CPU, no barn and no drain knows it. Taking an object touches the sheaf, the
//! object and one counter; no memory is asked for, no slot entered and no lock taken. A sheaf for more objects than the cache's
//! sheaves hold is *oversize*: it has memory of its own, of the metadata arena or of whole pages, and goes when it comes back.
//!
//! Source: `kmem_cache_prefill_sheaf`, `kmem_cache_alloc_from_sheaf`, `kmem_cache_refill_sheaf`, `kmem_cache_return_sheaf`
//! (mm/slub.c). Otherwise than there: every sheaf that goes out comes back under exactly one counter; a sheaf goes back to the
//! barn of the node where it was got; a return fills it up from partial slabs only, for who gives back asks for no memory.

use super::alloc::finish;
use super::ask::may_alloc;
use super::callbacks;
use super::construct::{Failed, check_alloc, outcome, zero_refused};
use super::header::Cache;
use super::hooks::{set_ctor_error, take_ctor_error};
use super::in_use;
use super::options::AllocFlags;
use super::raw::RawCache;
use super::slabs::At;
use super::stack::Stack;
use crate::error::Error;
use crate::pages::NodeId;
use crate::percpu::Pair;
use crate::sheaf::Sheaf;
use crate::stats::Stat;
use crate::sync::Bug;
use core::ptr::{NonNull, null_mut};

/// Tries at a slot that other threads keep changing.
const TRIES: usize = 8;

/// A sheaf of a [`RawCache`] with objects set aside: [`RawPrefilled::alloc`] takes them and cannot fail as long as there are some.
///
/// Dropping it returns sheaf and objects to the cache, which is not destroyed while one is out. In the child of a fork it is the
/// child's own, as the objects in it are.
#[derive(Debug)]
#[must_use = "dropping it returns the sheaf"]
pub struct RawPrefilled {
    cache: RawCache,
    stack: Stack,
    /// The node of the CPU where it was got.
    node: NodeId,
}

// SAFETY: the sheaf is its holder's alone, and the objects in it are nobody's; any thread may be the holder.
unsafe impl Send for RawPrefilled {}
// SAFETY: through a shared reference it only tells numbers.
unsafe impl Sync for RawPrefilled {}

impl RawCache {
    /// Sets `n` objects aside in a sheaf, so that taking `n` of them cannot fail; there may be more in it. Of the options only
    /// `THISNODE` means something here.
    ///
    /// Never blocks on another thread. With `n` up to the capacity of the cache's sheaves it takes the CPU's spare sheaf, else
    /// one of the barn, else a new one, and fills it up; above that (and always for a cache without sheaves) it makes an
    /// oversize one for `n`, all objects or none.
    ///
    /// # Errors
    /// [`Error::BadArgument`] when `n` is 0 or above `u32::MAX`; [`Error::OutOfMemory`], and nothing is lost; [`Error::Ctor`]
    /// where a constructor failed ([`crate::take_ctor_error`] has its own error) and [`Error::Reentry`] where one runs.
    pub fn prefill(self, flags: AllocFlags, n: usize) -> Result<RawPrefilled, Error> {
        let cache = self.header();
        let (n, at) = (count(cache, n)?, At::new(cache));
        let lent = check_alloc(cache, flags).and_then(|()| at.lend(flags, n));
        at.settle();
        outcome(lent).ok_or_else(|| failure(cache))
    }
}

impl RawPrefilled {
    /// Takes an object; `None` only when the sheaf is empty. Of the options `ZERO` and `ACCOUNT` are honoured; but `ZERO` is
    /// refused, as by [`RawCache::alloc`], where objects are constructed.
    #[inline]
    #[must_use]
    pub fn alloc(&mut self, flags: AllocFlags) -> Option<NonNull<u8>> {
        let cache = self.cache.header();
        if flags.contains(AllocFlags::ZERO) && cache.hooks.is_some() {
            return outcome(Err(Failed::from(zero_refused(cache))));
        }
        let object = self.stack.pop()?;
        At::new(cache).bump(Stat::AllocPrefilled, 1);
        if flags.is_empty() { Some(object) } else { finish(cache, object, flags) }
    }

    /// Objects that are left in it: as many [`RawPrefilled::alloc`]s cannot fail.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.stack.len as usize
    }

    /// Whether there are none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stack.len == 0
    }

    /// Objects that it has room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.stack.capacity as usize
    }

    /// Whether it has memory of its own, for more objects than the cache's sheaves have.
    #[must_use]
    pub fn is_oversize(&self) -> bool {
        self.stack.is_oversize()
    }

    /// The cache that its objects are of.
    #[must_use]
    pub fn cache(&self) -> RawCache {
        self.cache
    }

    /// Sees to it that at least `n` objects are in the sheaf. A sheaf that is too small is exchanged for a new one.
    ///
    /// # Errors
    /// As [`RawCache::prefill`]; the sheaf is then as it was.
    pub fn refill(&mut self, flags: AllocFlags, n: usize) -> Result<(), Error> {
        let cache = self.cache.header();
        let wanted = count(cache, n)?;
        if wanted > self.stack.capacity {
            // The old one goes back where the new one takes its place.
            *self = self.cache.prefill(flags, n)?;
            return Ok(());
        }
        let (mut at, before) = (At::new(cache), self.stack.len);
        let missing = wanted.saturating_sub(before) as usize;
        let filled = match check_alloc(cache, flags) {
            Ok(()) if missing > 0 && !may_alloc(cache, missing) => Ok(None),
            checked => checked.and_then(|()| self.stack.fill(&mut at, flags, wanted)),
        };
        at.bump(Stat::SheafPrefillObjects, u64::from(self.stack.len - before));
        at.settle();
        outcome(filled).ok_or_else(|| failure(cache))
    }

    /// Returns the sheaf and what is left in it; the same as dropping it.
    pub fn give_back(self) {}
}

impl Drop for RawPrefilled {
    fn drop(&mut self) {
        let at = At::new(self.cache.header());
        at.bump(Stat::SheafReturnObjects, u64::from(self.stack.len));
        if callbacks::wait(at.cache) {
            while let Some(object) = self.stack.pop() {
                let _queued = callbacks::queue_free(at.cache, object, flush_one);
            }
        }
        if self.stack.is_oversize() {
            at.end_oversize(&self.stack);
        } else {
            at.take_back(&mut self.stack, self.node);
        }
        at.settle();
    }
}

/// The number of objects asked for, if it is legal.
fn count(cache: &Cache, n: usize) -> Result<u32, Error> {
    u32::try_from(n).ok().filter(|&n| n > 0).ok_or_else(|| Error::BadArgument {
        cache: cache.name().to_owned(),
        argument: "n",
        value: n.to_string(),
        legal: format!("1 to {} objects", u32::MAX),
    })
}

/// Why there is no sheaf. What a constructor said stays there for [`crate::take_ctor_error`].
#[cold]
fn failure(cache: &Cache) -> Error {
    let name = || cache.name().to_owned();
    let Some(error) = take_ctor_error() else {
        return Error::OutOfMemory { cache: name(), what: "a prefilled sheaf" };
    };
    let found = match error.0.downcast_ref::<Error>() {
        Some(refused) => refused.clone(),
        None => {
            let text = error.0.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| error.0.downcast_ref::<&str>().copied());
            Error::Ctor { cache: name(), message: text.unwrap_or("no text").to_owned() }
        }
    };
    set_ctor_error(Some(error));
    found
}

/// Gives an object of a returned sheaf back, which had to wait for the end of a callback.
fn flush_one(cache: &Cache, object: NonNull<u8>) {
    let at = At::new(cache);
    at.bump(Stat::SheafFlush, 1);
    at.free_to_slab(object.as_ptr());
    at.settle();
}

impl At<'_> {
    /// Counts a sheaf that goes out or comes back. By an atomic instruction on every backend: the cache's end relies on it.
    fn count_sheaf(&self, stat: Stat) {
        self.cache.stat(self.cpu(), stat).add(1);
    }

    fn lend(mut self, flags: AllocFlags, n: u32) -> Result<Option<RawPrefilled>, Failed> {
        if !may_alloc(self.cache, n as usize) {
            return Ok(None);
        }
        if n > self.cache.shape.capacity {
            return self.lend_oversize(flags, n);
        }
        let (got, stat) = match self.take_spare() {
            Some(spare) => (Some(spare), Stat::SheafPrefillFast),
            None => (self.take_any_sheaf(), Stat::SheafPrefillSlow),
        };
        let (Some(mut sheaf), node) = (got, self.home()) else { return Ok(None) };
        let strict = flags.contains(AllocFlags::THISNODE) && self.cache.arena.nodes > 1;
        if strict && sheaf.objects(self.cache.shape).iter().any(|&object| !self.is_of(object, node)) {
            self.flush(&mut sheaf);
        }
        let mut stack = Stack::of(self.cache, &sheaf);
        match stack.fill(&mut self, flags, n) {
            Ok(Some(())) => Ok(Some(self.lent(stack, node, stat))),
            failed => {
                let mut sheaf = stack.sheaf(self.cache.shape);
                self.flush(&mut sheaf);
                self.drop_sheaf(sheaf);
                failed.map(|_| None)
            }
        }
    }

    fn lent(&self, stack: Stack, node: NodeId, stat: Stat) -> RawPrefilled {
        self.count_sheaf(stat);
        self.bump(Stat::SheafPrefillObjects, u64::from(stack.len));
        RawPrefilled { cache: RawCache::of(self.cache), stack, node }
    }

    /// The spare of the CPU that we are on, whatever it holds.
    fn take_spare(&mut self) -> Option<Sheaf> {
        let (slots, backend) = (self.cache.slots(), self.cache.backend);
        for _ in 0..TRIES {
            // SAFETY: the cache's own slots and backend, here and below; what is displaced is ours.
            let pair = unsafe { backend.pair(slots, self.cpu()) };
            if pair.is_stopped() {
                self.recover();
                return None;
            }
            if pair.spare.is_null() {
                return None;
            }
            // SAFETY: as above.
            let won = unsafe { backend.replace(slots, self.cpu(), pair, Pair { main: pair.main, spare: null_mut() }) };
            if won || Bug::UnwonSpare.planted() {
                return Some(self.sheaf_at(pair.spare));
            }
            self.go_to(backend.cpu());
        }
        None
    }

    fn take_any_sheaf(&self) -> Option<Sheaf> {
        let node = self.home();
        if let Some(full) = self.barn_full(node) {
            self.bump(Stat::BarnGet, 1);
            return Some(full);
        }
        self.bump(Stat::BarnGetFail, 1);
        self.barn_empty(node).or_else(|| self.new_sheaf())
    }

    fn lend_oversize(mut self, flags: AllocFlags, n: u32) -> Result<Option<RawPrefilled>, Failed> {
        // Memory for the pointers alone would be got where the system overcommits, and the process die of filling it.
        let room = self.cache.arena.pages.range().1 / self.cache.geometry.slab_size;
        let got = if n as usize <= room { Stack::oversize(&self, n) } else { None };
        let (Some(mut stack), node) = (got, self.home()) else { return Ok(None) };
        match stack.fill(&mut self, flags, n) {
            Ok(Some(())) => Ok(Some(self.lent(stack, node, Stat::SheafPrefillOversize))),
            failed => {
                stack.free(&self);
                failed.map(|_| None)
            }
        }
    }

    fn end_oversize(&self, stack: &Stack) {
        if stack.len > 0 {
            self.bump(Stat::SheafFlush, u64::from(stack.len));
            self.free_grouped(stack.all().iter().rev().copied());
        }
        stack.free(self);
        self.count_sheaf(Stat::SheafReturnOversize);
    }

    /// A sheaf comes back: it becomes the spare where there is none, else goes full to the barn, else to the slabs and its pool.
    fn take_back(mut self, stack: &mut Stack, node: NodeId) {
        let fast = self.put_as_spare(stack, node);
        in_use::note(self.cache);
        self.count_sheaf(if fast { Stat::SheafReturnFast } else { Stat::SheafReturnSlow });
        if !fast {
            self.put_full_or_flush(stack, node);
        }
    }

    fn put_as_spare(&mut self, stack: &Stack, node: NodeId) -> bool {
        let (slots, backend) = (self.cache.slots(), self.cache.backend);
        for _ in 0..TRIES {
            // SAFETY: the cache's own slots and backend, here and below; the sheaf is ours until the commit.
            let pair = unsafe { backend.pair(slots, self.cpu()) };
            if pair.is_stopped() || !pair.spare.is_null() || self.home() != node {
                return false;
            }
            let sheaf = stack.sheaf(self.cache.shape);
            // SAFETY: as above.
            if unsafe { backend.replace(slots, self.cpu(), pair, Pair { main: pair.main, spare: sheaf.cursor() }) } {
                return true;
            }
            self.go_to(backend.cpu());
        }
        false
    }

    fn put_full_or_flush(&self, stack: &mut Stack, node: NodeId) {
        let full = self.cache.barn(node).full(self.cache.form());
        if full < self.cache.full_limit && self.fill_from_partial(stack, node) {
            self.bump(Stat::BarnPut, 1);
            self.put_in_barn(node, stack.sheaf(self.cache.shape));
            return;
        }
        self.bump(Stat::BarnPutFail, u64::from(full >= self.cache.full_limit));
        let mut sheaf = stack.sheaf(self.cache.shape);
        self.flush(&mut sheaf);
        self.drop_sheaf(sheaf);
    }

    /// Fills a sheaf from what slabs there are; whether it is full then.
    fn fill_from_partial(&self, stack: &mut Stack, node: NodeId) -> bool {
        let missing = stack.capacity - stack.len;
        if missing > 0 {
            let mut places = stack.room().iter_mut();
            let got = self.take_partial(node, missing, |object| {
                if let Some(place) = places.next() {
                    *place = object;
                }
            });
            self.bump(Stat::SheafRefill, u64::from(got));
            stack.grow(got);
        }
        stack.len == stack.capacity
    }
}
