//! This allocator through a static cache: its address is known at link time.

use super::haybarn_dynamic::Classes;
use crate::bench::blocks::{Block, Blocks, Kind, Target};
use core::ptr::NonNull;
use haybarn::{CacheArgs, SlabFlags, StaticCache};
use std::sync::OnceLock;

/// An object of the pair rows.
#[repr(C, align(8))]
struct Object([u8; 64]);

static OBJECTS: StaticCache<Object> = StaticCache::new("bench-static-64");

/// See the module.
pub struct Static;

impl Target for Static {
    const NAME: &'static str = "haybarn-static";
    const KIND: Kind = Kind::Haybarn;
    type B64 = Objects;
    type Mixed = Classes;

    fn b64() -> Result<Objects, String> {
        static SET_UP: OnceLock<Result<(), String>> = OnceLock::new();
        // It stays for as long as the process: no cache of the program's own shall share its slabs with it.
        let args = || CacheArgs { flags: SlabFlags::NO_MERGE, ..CacheArgs::default() };
        SET_UP.get_or_init(|| OBJECTS.setup(&args()).map_err(|e| e.to_string())).clone()?;
        Ok(Objects)
    }

    fn mixed() -> Result<Classes, String> {
        Err("which cache serves a size that is known only at run time is no link-time address".into())
    }
}

/// Handle on the static cache after its setup.
#[derive(Clone)]
pub struct Objects;

// No #[inline] here: it would make the static visible to other crates, and its address a load from a table in place of a
// constant of the link. The compiler inlines both all the same.
impl Blocks for Objects {
    const CALLED: bool = false;

    fn try_alloc(&self) -> Option<Block<Self>> {
        let address = OBJECTS.alloc_raw().map_or(core::ptr::null_mut(), NonNull::as_ptr);
        // SAFETY: null or an object of 64 bytes, aligned to 8, and ours alone.
        unsafe { Block::from_raw(address.cast()) }
    }

    fn free(&self, block: Block<Self>) {
        if let Some(address) = NonNull::new(block.into_raw()) {
            // SAFETY: a block of this type came from `alloc` of the one cache, and is moved in here once.
            unsafe { OBJECTS.free_raw(address.cast()) };
        }
    }
}

/// The fast paths in functions of their own, for who counts their instructions.
pub mod probes {
    use super::{Block, Blocks, Objects};

    /// An object, as a program that inlines it gets it.
    #[inline(never)]
    pub fn alloc() -> Option<Block<Objects>> {
        Objects.try_alloc()
    }

    /// Frees one.
    #[inline(never)]
    pub fn free(block: Block<Objects>) {
        Objects.free(block);
    }
}
