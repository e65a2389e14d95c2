//! Caches as the layer above finds them: those that it keeps for good by number, and the one that a bare pointer leads to.

use super::arena::Arena;
use super::at_fork;
use super::inspect::Miss;
use super::raw::RawCache;
use crate::error::Error;
use crate::pages::{MapWord, PAGE_SIZE, PageIndex, PageKind};
use crate::slab::Descriptor;

/// What a pointer leads to.
pub(crate) enum Found {
    /// An object of a cache.
    Object(RawCache),
    /// Whole pages of [`Arena::alloc_large`], with their size in bytes.
    Large(PageIndex, usize),
}

impl Arena {
    /// The cache kept under that number, if it has been made.
    #[inline]
    pub(crate) fn kept(&self, at: usize) -> Option<RawCache> {
        RawCache::from_address(self.kept[at].read() as usize)
    }

    /// The cache kept under that number, made by `make` if this is its first use; by one thread at a time, whole in a forked
    /// child. It is never destroyed.
    ///
    /// # Errors
    /// Those of `make`; the next call tries again. [`Error::Unavailable`] in a handler of a fork, which would wait for itself.
    #[cold]
    pub(crate) fn keep(&self, at: usize, make: impl FnOnce() -> Result<RawCache, Error>) -> Result<RawCache, Error> {
        let Some(_turn) = at_fork::setup_once() else {
            return Err(at_fork::refused("the first use of a size class".to_owned()));
        };
        if let Some(made) = self.kept(at) {
            return Ok(made);
        }
        let made = make()?;
        self.kept[at].publish(made.address() as u64);
        Ok(made)
    }

    /// The number that a storage is kept under, if it is.
    pub(crate) fn kept_as(&self, storage_id: usize) -> Option<usize> {
        self.kept.iter().position(|kept| kept.read() as usize == storage_id)
    }

    /// What a live pointer leads to, without a look at anything but the page map and the slab's record; `None` where nothing
    /// begins on its page.
    ///
    /// # Safety
    /// If the address lies in a slab, an object there is live and stays so during the call.
    #[inline]
    pub(crate) unsafe fn find(&self, address: usize) -> Option<Found> {
        let page = self.pages.page_of(address)?;
        let word = self.pages.map(page);
        if word.kind() != PageKind::Slab {
            return self.large_at(page, word);
        }
        let descriptor = self.pages.meta().at(word.descriptor()).cast::<Descriptor>().as_ptr();
        // SAFETY: the slab has a live object, so it stays a slab, and its plain fields are not written meanwhile.
        let slots = unsafe { (*descriptor).cache };
        RawCache::from_address(slots as usize).map(Found::Object)
    }

    /// [`Arena::find`] for any address: the exact start of an object of a living cache, or of large pages; and its bytes.
    ///
    /// # Errors
    /// [`Error::BadPointer`] with the reason.
    pub(crate) fn find_checked(&self, address: usize) -> Result<(Found, usize), Error> {
        let bad = |why| Error::BadPointer { cache: String::new(), address, why };
        let page = self.pages.page_of(address).ok_or_else(|| bad("the address is foreign: outside of the arena"))?;
        let word = self.pages.map(page);
        if word.kind() != PageKind::Slab {
            let bytes = super::large::size(word).ok_or_else(|| bad("nothing that is freed by address starts there"))?;
            let starts = address.is_multiple_of(PAGE_SIZE);
            let interior = || bad("the address is interior or misaligned: not the start of the pages");
            return if starts { Ok((Found::Large(page, bytes), bytes)) } else { Err(interior()) };
        }
        // While the registry is locked, no cache goes.
        let registry = self.registry();
        let entry = registry.caches.iter().find(|entry| entry.id == word.cache());
        let cache = entry.and_then(|entry| RawCache::from_address(entry.slots));
        let cache = cache.ok_or_else(|| bad("the cache that the address lay in has just gone"))?;
        match cache.locate(core::ptr::with_exposed_provenance(address)) {
            Ok(_) => Ok((Found::Object(cache), cache.object_size())),
            Err(Miss::Bad(why)) => Err(Error::BadPointer {
                cache: registry.primary_of(word.cache()).unwrap_or("?").to_owned(),
                address,
                why,
            }),
            Err(Miss::Other(_)) => Err(bad("the slab that the address lay in has just gone")),
        }
    }

    /// Bytes of what starts at an address.
    ///
    /// # Errors
    /// As [`Arena::find_checked`].
    pub(crate) fn checked_size(&self, address: usize) -> Result<usize, Error> {
        self.find_checked(address).map(|(_, bytes)| bytes)
    }

    fn large_at(&self, page: PageIndex, word: MapWord) -> Option<Found> {
        super::large::size(word).map(|bytes| Found::Large(page, bytes))
    }
}
