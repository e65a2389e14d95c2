//! This allocator through cache handles: as it comes, with wider sheaves, and on the packed form of the doubleword.

use crate::bench::blocks::{Block, Blocks, Kind, Sizes, Target};
use core::marker::PhantomData;
use core::ptr::NonNull;
use haybarn::sync::Form;
use haybarn::{AllocFlags, Arena, ArenaConfig, CacheArgs, RawCache};
use std::sync::OnceLock;

/// Object sizes of the caches of mixed sizes: Linux's kmalloc caches up to 1 KiB.
const CLASSES: [usize; 9] = [16, 32, 64, 96, 128, 192, 256, 512, 1024];
/// The class of a size, by eighths: entry n is for sizes of 8 n - 7 to 8 n bytes.
const CLASS_OF: [u8; 129] = class_table();

const fn class_table() -> [u8; 129] {
    let mut table = [0; 129];
    let mut at = 0;
    while at < table.len() {
        let mut class = 0;
        while CLASSES[class] < 8 * at {
            class += 1;
        }
        table[at] = class as u8;
        at += 1;
    }
    table
}

/// An arena of one form, with the caches of every row.
pub trait Side: Clone + Send + 'static {
    /// The target's name.
    const NAME: &'static str;
    /// # Errors
    /// Why the arena is not to be had.
    fn arena() -> Result<&'static Arena, String>;
    /// How its caches are made.
    fn args() -> CacheArgs {
        CacheArgs::default()
    }
    /// The caches, made once in a process.
    fn caches() -> &'static OnceLock<Result<Caches, String>>;
}

/// See [`Side::caches`].
#[derive(Clone, Copy)]
pub struct Caches {
    pair: RawCache,
    classes: [RawCache; CLASSES.len()],
}

impl Caches {
    fn create<S: Side>() -> Result<Self, String> {
        let (arena, args) = (S::arena()?, S::args());
        // Sides may share an arena, so the side is in the name.
        let cache =
            |size| RawCache::create(arena, &format!("{}-{size}", S::NAME), size, &args).map_err(|e| e.to_string());
        let pair = RawCache::create(arena, &format!("{}-pair", S::NAME), 64, &args).map_err(|e| e.to_string())?;
        let mut classes = [pair; CLASSES.len()];
        for (class, size) in classes.iter_mut().zip(CLASSES) {
            *class = cache(size)?;
        }
        Ok(Self { pair, classes })
    }

    fn of<S: Side>() -> Result<Self, String> {
        S::caches().get_or_init(Self::create::<S>).clone()
    }
}

/// The process's arena: backend and form as the environment and the CPU have it.
#[derive(Clone)]
pub struct Best;

impl Side for Best {
    const NAME: &'static str = "haybarn";

    fn arena() -> Result<&'static Arena, String> {
        Arena::global().map_err(|e| e.to_string())
    }

    fn caches() -> &'static OnceLock<Result<Caches, String>> {
        static CACHES: OnceLock<Result<Caches, String>> = OnceLock::new();
        &CACHES
    }
}

/// The process's arena, with sheaves for 252 objects in place of Linux's number (60 for the small sizes of the rows).
#[derive(Clone)]
pub struct Wide;

impl Side for Wide {
    const NAME: &'static str = "haybarn-252";

    fn arena() -> Result<&'static Arena, String> {
        Best::arena()
    }

    fn args() -> CacheArgs {
        CacheArgs { sheaf_capacity: 252, ..CacheArgs::default() }
    }

    fn caches() -> &'static OnceLock<Result<Caches, String>> {
        static CACHES: OnceLock<Result<Caches, String>> = OnceLock::new();
        &CACHES
    }
}

/// An arena on the packed form.
#[derive(Clone)]
pub struct OnPacked;

impl Side for OnPacked {
    const NAME: &'static str = "haybarn-packed";

    fn arena() -> Result<&'static Arena, String> {
        let config = ArenaConfig { form: Some(Form::Packed), ..ArenaConfig::default() };
        Arena::create(config).map_err(|e| e.to_string())
    }

    fn caches() -> &'static OnceLock<Result<Caches, String>> {
        static CACHES: OnceLock<Result<Caches, String>> = OnceLock::new();
        &CACHES
    }
}

/// This allocator on one side.
pub struct Dynamic<S>(PhantomData<S>);

impl<S: Side> Target for Dynamic<S> {
    const NAME: &'static str = S::NAME;
    const KIND: Kind = Kind::Haybarn;
    type B64 = One;
    type Mixed = Classes;

    fn b64() -> Result<One, String> {
        Ok(One(Caches::of::<S>()?.pair))
    }

    fn mixed() -> Result<Classes, String> {
        Ok(Classes(Caches::of::<S>()?.classes))
    }
}

/// One cache.
#[derive(Clone)]
pub struct One(RawCache);

impl Blocks for One {
    const CALLED: bool = false;

    #[inline(always)]
    fn try_alloc(&self) -> Option<Block<Self>> {
        take(self.0)
    }

    #[inline(always)]
    fn free(&self, block: Block<Self>) {
        // SAFETY: a block of this type came from `alloc` of the one cache, and is moved in here once.
        unsafe { give(self.0, block) };
    }
}

impl One {
    /// Adds `count` new blocks to `live`.
    pub fn fill(&self, live: &mut Vec<Block<Self>>, count: usize) {
        live.extend((0..count).map(|n| {
            let block = self.alloc();
            block.write(n as u64);
            block
        }));
    }

    /// Frees them.
    pub fn free_all(&self, live: &mut Vec<Block<Self>>) {
        live.drain(..).for_each(|block| self.free(block));
    }

    /// Frees them after a grace period, and waits until they are free.
    ///
    /// # Panics
    /// In a read section.
    pub fn free_all_rcu(&self, live: &mut Vec<Block<Self>>) {
        for block in live.drain(..) {
            if let Some(address) = NonNull::new(block.into_raw()) {
                // SAFETY: as in `free`; nobody reads it.
                unsafe { self.0.free_rcu(address) }.expect("no read section");
            }
        }
        self.0.rcu_barrier().expect("no read section");
    }
}

/// A cache for each class, chosen by size as kmalloc does.
#[derive(Clone)]
pub struct Classes([RawCache; CLASSES.len()]);

impl Classes {
    #[inline(always)]
    fn of(&self, size: usize) -> RawCache {
        self.0[usize::from(CLASS_OF[size.div_ceil(8)])]
    }
}

impl Sizes for Classes {
    #[inline(always)]
    fn try_alloc(&self, size: usize) -> Option<Block<Self>> {
        take(self.of(size))
    }

    #[inline(always)]
    fn free(&self, block: Block<Self>, size: usize) {
        // SAFETY: a block of this type came from the cache of the same size, and is moved in here once.
        unsafe { give(self.of(size), block) };
    }
}

#[inline(always)]
fn take<B: ?Sized>(cache: RawCache) -> Option<Block<B>> {
    let address = cache.alloc(AllocFlags::empty()).map_or(core::ptr::null_mut(), NonNull::as_ptr);
    // SAFETY: null or an object of at least 16 bytes, aligned to 8, and ours alone.
    unsafe { Block::from_raw(address) }
}

/// # Safety
/// The block came from this cache.
#[inline(always)]
unsafe fn give<B: ?Sized>(cache: RawCache, block: Block<B>) {
    if let Some(address) = NonNull::new(block.into_raw()) {
        // SAFETY: the caller's word; a block is owned.
        unsafe { cache.free(address) };
    }
}
