//! haybarn: a slab allocator with per-CPU sheaves over lock-free slabs.
#![deny(unsafe_op_in_unsafe_fn)]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "haybarn runs on Linux only: it needs restartable sequences, membarrier and /proc; see README, \"Platform\""
);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("haybarn is built for x86-64 and aarch64 only; see README, \"Platform\"");

#[cfg(not(loom))]
mod cache;
#[cfg(all(test, loom))]
#[path = "percpu/drain_models.rs"]
mod drain_models;
#[cfg(not(loom))]
mod error;
/// The binding's files name the core so.
#[cfg(all(test, loom))]
extern crate self as haybarn;
pub(crate) mod inject;
#[cfg(not(loom))]
pub mod kmalloc;
pub(crate) mod os;
pub(crate) mod pages;
#[cfg(not(loom))]
mod percpu;
/// The binding's, which cannot be built with loom itself: what they are of needs the atomics of `sync` and nothing else.
#[cfg(all(test, loom))]
#[path = "../../python/src/state_models.rs"]
mod python_state_models;
pub mod rcu;
#[cfg(all(test, loom))]
#[path = "cache/rcu_free_models.rs"]
mod rcu_free_models;
#[cfg(not(loom))]
pub mod service;
mod sheaf;
pub mod slab;
mod stats;
pub mod sync;
#[cfg(not(loom))]
pub mod sysfs;

#[cfg(not(loom))]
pub use cache::{
    AllocError, AllocFlags, Arena, ArenaConfig, CPU_IDLE, CacheArgs, CacheBox, CacheInfo, CacheName, CacheStats,
    CacheStorage, CountedBox, CountedCache, CtorBox, CtorCache, CtorError, DtorMode, Handle, Hooks, Info, KmemCache,
    Level, NodeObjects, NodeStats, ObjIndex, Owned, Owner, Pinned, Prefilled, RawCache, RawPrefilled, Retain,
    StaticArgs, StaticBox, StaticCache, StaticPrefilled, TypesafeBox, TypesafeCache, failing_source, kfree_rcu,
    take_ctor_error,
};
#[cfg(not(loom))]
pub use cache::{Leak, leaks_wanted};
#[cfg(not(loom))]
#[doc(hidden)]
pub use cache::{leaks_were_reported, slow_paths};
#[cfg(not(loom))]
pub use error::{Error, LiveObject};

/// Failures on demand, after Linux's fail_page_alloc and failslab: see docs/fault-injection.md.
#[cfg(not(loom))]
pub mod fault {
    pub use crate::cache::{ActiveFault, active, fail_slab};
    pub use crate::inject::{FaultAttr, FaultGuard, Point, fail_page_alloc, request};
}
#[cfg(not(loom))]
#[doc(hidden)]
pub use os::fork::generation as fork_generation;
pub use os::topology::{possible_cpus, present_cpus};
pub use pages::{FailSwitch, Source};
#[cfg(not(loom))]
pub use percpu::{BackendKind, set_virtual_cpu};
pub use slab::{
    flags::SlabFlags,
    geometry::{Geometry, GeometryError, GeometryRequest, geometry},
};
pub use stats::Stat;
pub use sync::Form;

/// The Rust examples of the README and the pages are tests.
#[cfg(doctest)]
mod documents {
    macro_rules! pages {
        ($($name:ident $page:literal)*) => { $(#[doc = include_str!(concat!("../../../", $page))] struct $name;)* };
    }
    pages! {
        Readme "README.md"
        CtorDtor "docs/ctor-dtor.md"
        FaultInjection "docs/fault-injection.md"
        FreeRcu "docs/free-rcu.md"
        Kmalloc "docs/kmalloc.md"
        Nolock "docs/nolock.md"
        Preallocated "docs/preallocated.md"
        Prefill "docs/prefill.md"
        Rcu "docs/rcu.md"
        Typesafe "docs/typesafe.md"
    }
}
