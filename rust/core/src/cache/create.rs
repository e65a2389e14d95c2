//! Making a cache: every argument checked, then built, then published.
//!
//! Source: `__kmem_cache_create_args`, `do_kmem_cache_create` (mm/slab_common.c).

use super::arena::Arena;
use super::header::{BLOCK_ALIGN, Cache, MAX_NAME, SLOTS_AT, block_bytes};
use super::hooks::{DtorMode, Hooks};
use super::lenders::DEFRAG_DEFAULT;
use super::park;
use super::raw::RawCache;
use super::registry::{Entry, Registry};
use super::retain::Retain;
use super::slabs::At;
use super::undertaker;
use crate::error::Error;
use crate::inject::{self, Point};
use crate::percpu::{Backend, BackendKind};
use crate::slab::flags::SlabFlags;
use crate::slab::geometry::{Geometry, GeometryRequest, geometry};
use core::any::Any;
use core::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

/// How a cache is made. `Default` asks for nothing.
#[derive(Clone, Debug, Default)]
pub struct CacheArgs {
    /// Alignment of objects in bytes: 0 for none, or a power of two up to 4096.
    pub align: usize,
    /// Flags; those in [`SlabFlags::ACCEPTED_NOW`] are accepted, the others refused until their behaviour is built.
    pub flags: SlabFlags,
    /// Least capacity of a sheaf in objects, up to 1020; 0 for Linux's formula alone.
    pub sheaf_capacity: u32,
    /// Offset in bytes of the free pointer inside objects; needs a constructor or TYPESAFE_BY_RCU, as in Linux.
    pub freeptr_offset: Option<usize>,
    /// Least order of slabs, 0 to 9; the arena's applies where it is larger.
    pub min_order: u8,
    /// Count the hits of the inlined paths too. Use the `_counted` calls with such a cache: the others work, but slowly.
    pub count_hits: bool,
    /// Keep free pointers encoded, against forged ones (freelist hardening). Costs a few instructions in the slow paths.
    pub encode_freeptr: bool,
    /// Constructor and destructor: each object is constructed when its slab is made and destructed when its slab's pages go.
    pub hooks: Option<Arc<dyn Hooks>>,
    /// Where destructors run.
    pub dtor_mode: DtorMode,
    /// Bytes behind each object, a multiple of 8 up to 4096, that belong to the hooks: nobody else touches them between
    /// construct and destruct. They begin at the object's size rounded up to 8. Needs hooks.
    pub private_bytes: usize,
    /// Offset and size in bytes of the region of an object that may be copied from and to a user (`useroffset`, `usersize`);
    /// inside the object. `None`, the default, is the whole object and no region; a region keeps the cache from merging.
    pub usercopy: Option<(usize, usize)>,
    /// Kept until the cache has been destroyed and nobody holds its name or reads its attributes any more, then dropped with no
    /// lock held: for what must outlive a cache, such as the loaded module that its storage lies in.
    pub owner: Option<Arc<dyn Any + Send + Sync>>,
    /// Keeps objects of `free_rcu` back after their grace period: for tests of the order in which a cache ends.
    #[doc(hidden)]
    pub retainer: Option<Arc<dyn Retain>>,
}

// Arguments are read only, and a panic inside hooks is between their own calls: none comes while a cache is being made.
impl UnwindSafe for CacheArgs {}
impl RefUnwindSafe for CacheArgs {}

/// A request whose arguments have been checked.
pub(super) struct Checked {
    pub flags: SlabFlags,
    pub geometry: Geometry,
}

pub(super) fn check(arena: &Arena, name: &str, size: usize, args: &CacheArgs) -> Result<Checked, Error> {
    check_name(name)?;
    let flags = check_flags(name, args)?;
    check_hooks(name, size, args)?;
    let geometry = choose_geometry(arena, name, size, args)?;
    check_usercopy(name, size, args)?;
    Ok(Checked { flags, geometry })
}

/// Makes the storage and enters it into the registry. `apart`: nobody else is to share it.
pub(super) fn build(
    arena: &'static Arena,
    registry: &mut Registry,
    name: &str,
    args: &CacheArgs,
    checked: &Checked,
    apart: bool,
) -> Result<&'static Cache, Error> {
    let out_of_memory = |what| Error::OutOfMemory { cache: name.to_owned(), what };
    let id = registry.take_id().ok_or_else(|| out_of_memory("a cache id: 65535 are in use"))?;
    let Some(block) = take_block(arena, registry) else {
        registry.put_id(id);
        return Err(out_of_memory("the cache's own block"));
    };
    let backend = Backend::new(arena.kind, &arena.flagged, args.count_hits);
    let counts_hits = args.count_hits || arena.kind != BackendKind::Rseq;
    let place = core::ptr::with_exposed_provenance_mut::<Cache>(block);
    let Checked { flags, geometry } = *checked;
    let mut header = Cache::new(place.cast(), arena, backend, geometry, flags, id, counts_hits, name);
    header.rcu.retain(args.retainer.clone());
    if args.encode_freeptr {
        header.cookie = cookie();
        header.swap_mask = u64::MAX;
    }
    header.has_dtor = args.hooks.as_ref().is_some_and(|hooks| hooks.has_dtor());
    header.defers_death |= header.has_dtor;
    header.dtor_mode = args.dtor_mode;
    header.defrag_ratio.set(DEFRAG_DEFAULT);
    header.hooks = args.hooks.clone();
    // SAFETY: the block is ours and large enough; nobody knows the cache yet.
    let cache = unsafe {
        place.write(header);
        (*place).write_areas();
        &*place
    };
    if !install_sheaves(cache) {
        registry.put_id(id);
        registry.put_block(block);
        return Err(out_of_memory("a sheaf for every CPU"));
    }
    let made = RawCache::of(cache);
    debug_assert_eq!(made.address(), block + SLOTS_AT);
    registry.caches.push(Entry { id, slots: made.address(), apart, dying: None });
    park::settle(cache);
    undertaker::expect(cache);
    Ok(cache)
}

pub(super) fn bad(cache: &str, argument: &'static str, value: impl ToString, legal: impl Into<String>) -> Error {
    Error::BadArgument { cache: cache.to_owned(), argument, value: value.to_string(), legal: legal.into() }
}

fn check_name(name: &str) -> Result<(), Error> {
    // Any space would end a line or a column of slabinfo for who takes it apart, the ones beyond ASCII too.
    let odd = |c: char| c.is_whitespace() || c == '/' || c.is_control();
    // The last two could be no folder's name.
    if name.is_empty() || name.len() > MAX_NAME || name.contains(odd) || matches!(name, "." | "..") {
        let legal = format!("1 to {MAX_NAME} bytes without space, '/' or control characters, not '.' or '..'");
        return Err(bad(name, "name", format!("{name:?}"), legal));
    }
    Ok(())
}

fn check_flags(name: &str, args: &CacheArgs) -> Result<SlabFlags, Error> {
    let refused = args.flags - SlabFlags::ACCEPTED_NOW;
    if !refused.is_empty() {
        let legal = format!("flags that caches take by now: {}", SlabFlags::ACCEPTED_NOW.names());
        return Err(bad(name, "flags", refused.names(), legal));
    }
    // An explicit capacity and constructed objects are the owner's choice: no other name may share them.
    let own = if args.sheaf_capacity != 0 || args.hooks.is_some() { SlabFlags::NO_MERGE } else { SlabFlags::empty() };
    Ok(args.flags | own)
}

/// Most private bytes of an object.
const MAX_PRIVATE: usize = 4096;

fn check_hooks(name: &str, size: usize, args: &CacheArgs) -> Result<(), Error> {
    let bytes = args.private_bytes;
    if bytes > MAX_PRIVATE || !bytes.is_multiple_of(8) || (bytes > 0 && args.hooks.is_none()) {
        let legal = format!("a multiple of 8 up to {MAX_PRIVATE} with hooks, 0 without");
        return Err(bad(name, "private_bytes", bytes, legal));
    }
    if args.hooks.is_none() && args.dtor_mode != DtorMode::Inline {
        return Err(bad(name, "dtor_mode", format!("{:?}", args.dtor_mode), "Inline for a cache without hooks"));
    }
    // Geometry sees the private bytes as the object's own.
    if let Some(offset) = args.freeptr_offset.filter(|&offset| bytes > 0 && offset >= size) {
        return Err(bad(
            name,
            "freeptr_offset",
            offset,
            format!("a multiple of 8 below the object size of {size} bytes"),
        ));
    }
    Ok(())
}

/// Linux clears a region that is not inside the object, with a warning; here it is an error, as every argument.
fn check_usercopy(name: &str, size: usize, args: &CacheArgs) -> Result<(), Error> {
    match args.usercopy {
        Some((offset, bytes)) if offset > size || (bytes == 0 && offset != 0) => {
            Err(bad(name, "useroffset", offset, format!("0 to the object size of {size} bytes, 0 where usersize is 0")))
        }
        Some((offset, bytes)) if bytes > size - offset => {
            let legal = format!("0 to {} bytes, which the object has from useroffset {offset} on", size - offset);
            Err(bad(name, "usersize", bytes, legal))
        }
        _ => Ok(()),
    }
}

fn choose_geometry(arena: &Arena, name: &str, size: usize, args: &CacheArgs) -> Result<Geometry, Error> {
    let (private, has_ctor) = (args.private_bytes, args.hooks.is_some());
    // An impossible size stays what it is.
    let with_private = if private > 0 { size.saturating_add(7) / 8 * 8 + private } else { size };
    let request = GeometryRequest {
        object_size: if size == 0 { 0 } else { with_private },
        align: args.align,
        flags: args.flags,
        has_ctor,
        freeptr_offset: args.freeptr_offset,
        cpus: arena.geometry_cpus(),
        // Out of range stays out of range: the larger of the two is checked.
        min_order: args.min_order.max(arena.min_order),
        sheaf_capacity: args.sheaf_capacity,
    };
    let geometry = geometry(&request).map_err(|error| match error.argument {
        "object_size" => bad(name, "object_size", size, format!("{}, less {private} private bytes", error.legal)),
        _ => bad(name, error.argument, error.value, error.legal),
    })?;
    Ok(Geometry { object_size: size, ..geometry })
}

fn take_block(arena: &Arena, registry: &mut Registry) -> Option<usize> {
    let bytes = block_bytes(arena.slots, arena.nodes);
    let fresh = || arena.pages.meta().alloc(bytes, BLOCK_ALIGN).map(|block| block.as_ptr().expose_provenance());
    match registry.take_block() {
        // What a destroyed cache left is a request for metadata like any other.
        Some(block) if !inject::request(Point::Metadata, bytes) => {
            registry.put_block(block);
            None
        }
        Some(block) => Some(block),
        None => fresh(),
    }
}

/// Gives each CPU its empty main sheaf; all or none. A cache without sheaves keeps the slots on which everything misses.
fn install_sheaves(cache: &Cache) -> bool {
    if !cache.has_sheaves() {
        return true;
    }
    let at = At::on(cache, 0);
    for cpu in cache.cpus() {
        let Some(main) = at.new_sheaf() else {
            for done in 0..cpu {
                // SAFETY: nobody else knows the cache.
                let pair = unsafe { cache.backend.peek(cache.slots(), done) };
                at.drop_sheaf(at.sheaf_at(pair.main));
            }
            return false;
        };
        // SAFETY: as above.
        unsafe { cache.backend.install(cache.slots(), cpu, main.cursor()) };
    }
    true
}

/// A number that a program without a look into our memory cannot guess. Not a secret against anyone else.
fn cookie() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one("free pointer") | 1
}
