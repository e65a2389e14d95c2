//! The end of a name, and with the last one of its storage.

use super::callbacks;
use super::create::bad;
use super::join::see_to_primary;
use super::names::CacheName;
use super::raw::RawCache;
use super::registry::{Entry, Registry};
use super::shrink;
use crate::error::Error;
use crate::os;
use crate::sync::Bug;

impl CacheName {
    /// Ends the name. While the storage has other visible names, nothing else happens: objects that are live stay so, and are
    /// the others' from then on. With the last one the storage ends, after everything that was given to `free_rcu` has had
    /// its grace period. Source: `kmem_cache_destroy`.
    ///
    /// # Errors
    /// Those of [`RawCache::destroy`] for the last name, which then stays as it is. [`Error::Destroyed`] the second time.
    ///
    /// # Safety
    /// Nobody uses a handle that came from [`CacheName::raw`] of this name during the call, nor after its success; nor an
    /// object taken through it, unless the other names' users know of it.
    pub unsafe fn destroy(&self) -> Result<(), Error> {
        // SAFETY: the caller's word. Whether there are others may change in between.
        while unsafe { !self.leave()? && !self.end_storage()? } && !Bug::HalfEnd.planted() {}
        Ok(())
    }

    /// The first half of [`CacheName::destroy`]: ends the name if others have the storage too; false: it is the last one, and
    /// nothing has happened. What it counted is the storage's from now on. Waits for nobody.
    ///
    /// # Errors
    /// [`Error::Destroyed`].
    ///
    /// # Safety
    /// As [`CacheName::destroy`].
    pub unsafe fn leave(&self) -> Result<bool, Error> {
        // SAFETY: the caller's word.
        unsafe { self.leave_with(0, 0) }
    }

    /// [`CacheName::leave`] with objects that were allocated and freed under the name and counted elsewhere.
    ///
    /// # Errors
    /// [`Error::Destroyed`].
    ///
    /// # Safety
    /// As [`CacheName::destroy`].
    #[doc(hidden)]
    pub unsafe fn leave_with(&self, allocs: u64, frees: u64) -> Result<bool, Error> {
        let mut registry = self.arena.registry();
        self.check_living(&registry)?;
        if !self.has_others(&registry) {
            return Ok(false);
        }
        let departed = &self.storage().header().departed;
        departed.allocs.add(self.named.calls.allocs.get().wrapping_add(allocs));
        departed.frees.add(self.named.calls.frees.get().wrapping_add(frees));
        let gone = registry.remove_names(|name| self.is_named(name));
        see_to_primary(&mut registry, self.storage().header());
        drop(registry);
        drop(gone);
        Ok(true)
    }

    /// The second half of [`CacheName::destroy`]: ends the storage if this is its last name; false: it is not, and nothing has
    /// happened.
    ///
    /// # Errors
    /// Those of [`RawCache::destroy`]; the name then stays as it is.
    ///
    /// # Safety
    /// As [`CacheName::destroy`].
    pub unsafe fn end_storage(&self) -> Result<bool, Error> {
        let (storage, slots) = (self.storage(), self.named.slots);
        let mut registry = self.arena.registry();
        self.check_living(&registry)?;
        if self.has_others(&registry) {
            return Ok(false);
        }
        let cache = storage.header();
        callbacks::check_destroy(cache).map_err(|error| error.of_cache(self.name()))?;
        registry.set_dying(slots, true);
        drop(registry);
        while !cache.pins.none() {
            os::yield_now();
        }
        // SAFETY: it was the last name; by the caller's word its users are gone, those of the others promised the same, no
        // new name joins a storage that is dying, and nobody has it pinned.
        let ended = unsafe { shrink::end(storage) };
        ended.map(|()| true).map_err(|error| {
            self.arena.registry().set_dying(slots, false);
            error.of_cache(self.name())
        })
    }

    fn check_living(&self, registry: &Registry) -> Result<(), Error> {
        let dying = |entry: &Entry| entry.slots == self.named.slots && entry.is_dying() && !Bug::EndsTwice.planted();
        if !self.is_living() || registry.caches.iter().any(dying) {
            return Err(Error::Destroyed { cache: self.name().to_owned() });
        }
        if self.is_hidden() {
            let legal = "a name that somebody made: a hidden one goes with the last of those";
            return Err(bad(self.name(), "cache", self.name(), legal));
        }
        Ok(())
    }

    fn has_others(&self, registry: &Registry) -> bool {
        registry.names_of(self.named.slots).any(|other| !self.is_named(other) && !other.hidden)
    }
}

impl RawCache {
    /// Ends a cache of one name, after everything that was given to [`RawCache::free_rcu`] has had its grace period.
    ///
    /// Source: `kmem_cache_destroy`; the order is K§2.19's: barrier, what a retainer keeps, flush, checks.
    ///
    /// # Errors
    /// [`Error::CacheBusy`] with the first live objects when there are any, or when a prefilled sheaf is out; the cache then
    /// stays as it is, usable.
    /// [`Error::Reentry`] inside a constructor or destructor of this cache.
    /// [`Error::InReadSection`] if it would have to wait for readers and the thread is one; nothing is done then.
    /// [`Error::BadArgument`] if several names share it: each is destroyed by itself, see [`CacheName::destroy`].
    ///
    /// # Safety
    /// Nobody uses the cache during the call, nor any copy of the handle after its success.
    pub unsafe fn destroy(self) -> Result<(), Error> {
        let arena = self.arena();
        let of_this = |name: &CacheName| name.storage() == self && !name.is_hidden();
        let names: Vec<_> = arena.names().into_iter().filter(of_this).collect();
        let (name, others) = names.split_first().ok_or_else(|| Error::Destroyed { cache: String::new() })?;
        if !others.is_empty() {
            let others: Vec<_> = others.iter().map(CacheName::name).collect();
            let legal = format!("a cache of one name, not one that it shares with {}", others.join(", "));
            return Err(bad(name.name(), "cache", name.name(), legal));
        }
        // SAFETY: the caller's word.
        unsafe { name.destroy() }
    }
}
