//! The kmalloc family: memory of any size, freed by its address alone.
//!
//! | file | idea |
//! |---|---|
//! | `classes` | the size classes, their names and caches, and what a size is rounded up to |
//! | `alloc` | `kmalloc`, `kvmalloc` |
//! | `free` | `kfree`, many at once, checked; `ksize` |
//! | `provenance` | what lies at an address |
//! | `realloc` | `krealloc` and its rules about zeroes |
//! | `nolock` | for signal handlers |
//! | `buckets` | a private set of size classes |
//!
//! Every function takes the arena that the memory comes from, and may be called by every thread. What has no constructor and no
//! type needs none of the promises that caches give: the objects of a class are as large as the class, so all of what `ksize`
//! says may be used.
//!
//! Source: mm/slub.c, mm/slab_common.c, include/linux/slab.h.

mod alloc;
mod buckets;
mod classes;
mod free;
mod nolock;
mod provenance;
mod realloc;

#[doc(hidden)]
pub use alloc::hit;
pub use alloc::{kmalloc, kmalloc_node, kvmalloc};
pub use buckets::KmemBuckets;
pub use classes::{KMALLOC_MAX_CACHE_SIZE, KMALLOC_MAX_SIZE, SIZES, ZERO_SIZE_PTR, class_named, kmalloc_size_roundup};
#[doc(hidden)]
pub use free::{cache_at, put};
pub use free::{kfree, kfree_bulk, kfree_checked, kfree_sensitive, ksize, ksize_checked, kvfree, try_kfree, try_ksize};
pub use nolock::{kfree_nolock, kmalloc_node_nolock, kmalloc_nolock, try_kfree_nolock};
pub use provenance::{Provenance, provenance};
pub use realloc::{krealloc, krealloc_from};
