//! The types and numbers that C sees. cbindgen takes values as they are written here, so that they are literals; each is
//! compared with the core's at compile time.
#![forbid(unsafe_code)]
#![allow(dead_code)] // some numbers are for C alone

use haybarn_core::{AllocFlags, CacheStorage, SlabFlags, kmalloc};
use libc::{c_int, c_uint, c_void};

/// How to allocate: GFP_KERNEL, or a combination of `__GFP_` flags. A bit that has no name here is refused (EINVAL).
pub type gfp_t = c_uint;
/// How to make a cache: a combination of SLAB_ flags.
pub type slab_flags_t = c_uint;

/// Nothing special. No allocation waits for another thread, whatever its flags.
pub const GFP_KERNEL: gfp_t = 0;
/// Do not hand memory back to the system in order to get some.
pub const GFP_NOWAIT: gfp_t = 2;
/// The same as GFP_NOWAIT.
pub const GFP_ATOMIC: gfp_t = 2;
/// GFP_KERNEL, counted as with __GFP_ACCOUNT.
pub const GFP_KERNEL_ACCOUNT: gfp_t = 8;
/// The memory's bytes are zero. Refused by caches with a constructor.
pub const __GFP_ZERO: gfp_t = 1;
/// Memory of the node that is asked for (the CPU's, where none is), or none.
pub const __GFP_THISNODE: gfp_t = 4;
/// Count the object in its cache's attribute `accounted`.
pub const __GFP_ACCOUNT: gfp_t = 8;
/// Accepted, and without effect: nothing is printed where memory is out.
pub const __GFP_NOWARN: gfp_t = 16;

/// Align objects to cache lines; small ones to the largest fraction of a line that holds them.
pub const SLAB_HWCACHE_ALIGN: slab_flags_t = 1;
/// Keeps caches apart when merging, nothing else.
pub const SLAB_CACHE_DMA: slab_flags_t = 2;
/// Keeps caches apart when merging, nothing else.
pub const SLAB_CACHE_DMA32: slab_flags_t = 4;
/// Where the cache cannot be made the program ends, with the reason on stderr.
pub const SLAB_PANIC: slab_flags_t = 8;
/// Slabs are given back only after a grace period; the memory keeps its type until then.
pub const SLAB_TYPESAFE_BY_RCU: slab_flags_t = 16;
/// Accepted, and without effect.
pub const SLAB_DEBUG_OBJECTS: slab_flags_t = 32;
/// The cache has no sheaves and never merges.
pub const SLAB_NOLEAKTRACE: slab_flags_t = 64;
/// Caches merge only with others of this kind.
pub const SLAB_RECLAIM_ACCOUNT: slab_flags_t = 128;
/// Another name of SLAB_RECLAIM_ACCOUNT.
pub const SLAB_TEMPORARY: slab_flags_t = 128;
/// Debugging that a user switches on for all caches leaves this one alone.
pub const SLAB_NO_USER_FLAGS: slab_flags_t = 512;
/// Never share slabs with another cache.
pub const SLAB_NO_MERGE: slab_flags_t = 2048;

/// Any node: the CPU's, as a rule.
pub const NUMA_NO_NODE: c_int = -1;
/// The largest size class of kmalloc; what is larger gets whole pages.
pub const KMALLOC_MAX_CACHE_SIZE: usize = 8192;
/// The most that kmalloc gives; kvmalloc gives more.
pub const KMALLOC_MAX_SIZE: usize = 4194304;
/// Bytes of struct kmem_cache_opaque.
pub const KMEM_CACHE_OPAQUE_SIZE: usize = 64;
/// Its alignment.
pub const KMEM_CACHE_OPAQUE_ALIGN: usize = 64;

const fn same(flags: &[(slab_flags_t, SlabFlags)]) {
    let mut at = 0;
    while at < flags.len() {
        assert!(flags[at].0 == flags[at].1.bits());
        at += 1;
    }
}
const _: () = same(&[
    (SLAB_HWCACHE_ALIGN, SlabFlags::HWCACHE_ALIGN),
    (SLAB_CACHE_DMA, SlabFlags::CACHE_DMA),
    (SLAB_CACHE_DMA32, SlabFlags::CACHE_DMA32),
    (SLAB_PANIC, SlabFlags::PANIC),
    (SLAB_TYPESAFE_BY_RCU, SlabFlags::TYPESAFE_BY_RCU),
    (SLAB_DEBUG_OBJECTS, SlabFlags::DEBUG_OBJECTS),
    (SLAB_NOLEAKTRACE, SlabFlags::NOLEAKTRACE),
    (SLAB_RECLAIM_ACCOUNT, SlabFlags::RECLAIM_ACCOUNT),
    (SLAB_TEMPORARY, SlabFlags::TEMPORARY),
    (SLAB_NO_USER_FLAGS, SlabFlags::NO_USER_FLAGS),
    (SLAB_NO_MERGE, SlabFlags::NO_MERGE),
]);
const _: () = assert!(
    __GFP_ZERO == AllocFlags::ZERO.bits()
        && GFP_NOWAIT == AllocFlags::NOWAIT.bits()
        && GFP_ATOMIC == AllocFlags::NOWAIT.bits()
        && __GFP_THISNODE == AllocFlags::THISNODE.bits()
        && __GFP_ACCOUNT == AllocFlags::ACCOUNT.bits()
        && AllocFlags::all().bits() & __GFP_NOWARN == 0
);
const _: () =
    assert!(KMALLOC_MAX_CACHE_SIZE == kmalloc::KMALLOC_MAX_CACHE_SIZE && KMALLOC_MAX_SIZE == kmalloc::KMALLOC_MAX_SIZE);
const _: () = assert!(
    size_of::<kmem_cache_opaque>() == KMEM_CACHE_OPAQUE_SIZE
        && align_of::<kmem_cache_opaque>() == KMEM_CACHE_OPAQUE_ALIGN
        && CacheStorage::SIZE == KMEM_CACHE_OPAQUE_SIZE
        && CacheStorage::ALIGN == KMEM_CACHE_OPAQUE_ALIGN
);

/// Room for a cache whose address is known when the program is linked: define it `static` (all zeroes), set it up by
/// kmem_cache_setup, use it through to_kmem_cache.
#[repr(C, align(64))]
pub struct kmem_cache_opaque {
    /// The library's.
    pub words: [usize; 8],
}

/// Room for what call_rcu has to remember; it lies in the structure that is to be freed.
#[repr(C)]
pub struct rcu_head {
    /// The library's.
    pub words: [*mut c_void; 2],
}

/// Options of a cache. All zeroes asks for nothing.
#[repr(C)]
pub struct kmem_cache_args {
    /// Alignment of objects in bytes: 0 for none, or a power of two up to 4096.
    pub align: c_uint,
    /// The part of an object that may be copied to and from users: its first byte.
    pub useroffset: c_uint,
    /// And its bytes; 0 for no part. It prevents merging.
    pub usersize: c_uint,
    /// Offset of the free pointer in a free object; needs a constructor or SLAB_TYPESAFE_BY_RCU.
    pub freeptr_offset: c_uint,
    /// Whether freeptr_offset counts.
    pub use_freeptr_offset: bool,
    /// Constructs an object, once, when its slab is made.
    pub ctor: Option<unsafe extern "C" fn(object: *mut c_void)>,
    /// Least capacity of a sheaf in objects, up to 1020; 0 for Linux's formula alone. It prevents merging.
    pub sheaf_capacity: c_uint,
    /// In place of ctor: one that may fail. Not 0: the allocation that needed the object fails, with this as errno (a negative
    /// number counts as the positive one).
    pub try_ctor: Option<unsafe extern "C" fn(object: *mut c_void) -> c_int>,
    /// Destructs an object, once, when its slab's pages go. It must not allocate. Needs a constructor.
    pub dtor: Option<unsafe extern "C" fn(object: *mut c_void)>,
    /// What has to stay as long as anybody looks at the cache: given to `release` when the cache was destroyed and its last
    /// reader is gone. A kmem_cache_opaque that goes away (with a shared library, say) goes then.
    pub owner: *mut c_void,
    /// Called with `owner`, on any thread, once for each cache that was made with it. NULL: no owner.
    pub release: Option<unsafe extern "C" fn(owner: *mut c_void)>,
}

impl kmem_cache_args {
    /// Asks for nothing.
    ///
    /// cbindgen:ignore
    pub const NONE: Self = Self {
        align: 0,
        useroffset: 0,
        usersize: 0,
        freeptr_offset: 0,
        use_freeptr_offset: false,
        ctor: None,
        sheaf_capacity: 0,
        try_ctor: None,
        dtor: None,
        owner: core::ptr::null_mut(),
        release: None,
    };
}
