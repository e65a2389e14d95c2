//! Caches: made, used, looked into, shrunk and ended.
//!
//! | file | idea |
//! |---|---|
//! | `arena`, `registry`, `info` | the place that caches live in, which there are, and its whole pages |
//! | `kept`, `large` | for kmalloc: caches kept by number and found by address; whole pages freed by address |
//! | `at_fork` | what a fork must not cut in two |
//! | `header` | a cache's memory |
//! | `attributes`, `names` | names, which may share a cache |
//! | `merge`, `join`, `create` | beginning: which may share, who does, a new one |
//! | `shrink`, `live`, `end` | giving back, end |
//! | `raw`, `options` | the untyped handle with the inlined fast path |
//! | `nolock` | the same for signal handlers |
//! | `alloc`, `free`, `bulk` | the slow paths: sheaves, barn, slabs |
//! | `hooks`, `construct`, `callbacks` | constructors and destructors of objects, and what is not done inside them |
//! | `prefill`, `stack`, `lent` | sheaves that are out, with objects set aside; their memory; the same for typed caches |
//! | `rcu_free`, `rcu_lists`, `rcu_reclaim`, `rcu_barrier`, `rcu_service`, `retain` | freeing after a grace period |
//! | `sheaves`, `slabs` | what the slow paths are made of |
//! | `choose_nodes`, `lenders`, `by_node`, `nodes` | which nodes there are, whose slabs a refill goes to, requests for a node's memory, what is said of them |
//! | `idle`, `in_use` | CPUs that nobody uses any more |
//! | `environment` | variables of the environment |
//! | `paths` | where the text of the slow paths lies |
//! | `ask`, `park` | faults that fail objects |
//! | `graveyard`, `undertaker`, `reapers` | dead slabs whose pages go later, and who sees to it |
//! | `leaks` | live objects of caches in use, and their report at exit |
//! | `inspect` | attributes, counters, address checks, validation |
//! | `survey`, `cleared` | what a cache's slabs hold, counters set to zero |
//! | `typed`, `boxed`, `fixed` | caches of a Rust type, their boxes, and caches in a `static` |
//! | `storage` | the storage of caches whose address was chosen beforehand |
//! | `counted` | a typed cache that counts its own calls |
//! | `constructed` | caches of a Rust type whose values outlive their owners |

mod alloc;
mod arena;
mod ask;
mod at_fork;
mod attributes;
mod boxed;
mod bulk;
mod by_node;
mod callbacks;
mod choose_nodes;
mod cleared;
mod construct;
mod constructed;
mod counted;
mod create;
mod end;
mod environment;
mod fixed;
mod free;
mod graveyard;
mod header;
mod hooks;
mod idle;
mod in_use;
mod info;
mod inspect;
mod join;
mod kept;
mod large;
mod leaks;
mod lenders;
mod lent;
mod live;
mod merge;
mod names;

mod nodes;
mod nolock;
mod options;
mod park;
mod paths;
mod prefill;
mod raw;
mod rcu_barrier;
mod rcu_free;
mod rcu_lists;
mod rcu_reclaim;
mod rcu_service;
mod reapers;
mod registry;
mod retain;
mod sheaves;
mod shrink;
mod slabs;
mod stack;
mod storage;
mod survey;
mod typed;
mod typesafe;
mod undertaker;

pub(crate) use arena::KEPT;
pub use arena::{Arena, ArenaConfig, failing_source};
pub use attributes::CacheInfo;
pub use boxed::{Owned, Owner, kfree_rcu};
pub use constructed::{AllocError, CtorBox, CtorCache};
pub use counted::{CountedBox, CountedCache};
pub use create::CacheArgs;
pub use fixed::{StaticArgs, StaticBox, StaticCache};
pub(crate) use header::Cache;
pub(crate) use hooks::refused;
pub use hooks::{CtorError, DtorMode, Hooks, take_ctor_error};
pub use idle::CPU_IDLE;
pub use info::Info;
pub use inspect::{CacheStats, ObjIndex};
pub(crate) use kept::Found;
pub use leaks::{Leak, leaks_wanted, leaks_were_reported};
pub use lent::{Prefilled, StaticPrefilled};
pub(crate) use live::SAMPLE;
pub use names::{CacheName, Pinned};
pub use nodes::{NodeObjects, NodeStats};
pub use options::{AllocFlags, Level};
pub use park::{ActiveFault, active, fail_slab};
pub use paths::slow_paths;
pub use prefill::RawPrefilled;
pub use raw::RawCache;
pub use retain::Retain;
pub use storage::CacheStorage;
pub(crate) use survey::{Survey, survey};
pub use typed::{CacheBox, KmemCache};
pub use typesafe::{Handle, TypesafeBox, TypesafeCache};

#[cfg(all(test, shuttle))]
mod construct_models;
#[cfg(all(test, shuttle))]
mod idle_models;
#[cfg(all(test, shuttle))]
mod join_models;
#[cfg(all(test, shuttle))]
mod park_models;
#[cfg(all(test, shuttle))]
mod shuttle_tests;
#[cfg(all(test, shuttle))]
mod shuttle_typesafe_tests;
