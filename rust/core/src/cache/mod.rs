//! Caches: made, used, looked into, shrunk and ended.
//!
//! | file | idea |
//! |---|---|
//! | `arena`, `info` | the place that caches live in, and its whole pages |
//! | `at_fork` | what a fork must not cut in two |
//! | `header` | a cache's memory |
//! | `create`, `shrink`, `live` | beginning, giving back, end |
//! | `raw` | the untyped handle with the inlined fast path |
//! | `alloc`, `free`, `bulk` | the slow paths: sheaves, barn, slabs |
//! | `sheaves`, `slabs` | what the slow paths are made of |
//! | `inspect` | attributes, counters, address checks, validation |
//! | `typed`, `boxed`, `fixed` | caches of a Rust type, their boxes, and caches in a `static` |

mod alloc;
mod arena;
mod at_fork;
mod boxed;
mod bulk;
mod create;
mod fixed;
mod free;
mod header;
mod info;
mod inspect;
mod live;
mod raw;
mod sheaves;
mod shrink;
mod slabs;
mod typed;

pub use arena::{Arena, ArenaConfig, failing_source};
pub use boxed::{CacheBox, Owner};
pub use create::CacheArgs;
pub use fixed::StaticCache;
pub use info::Info;
pub use inspect::{CacheInfo, CacheStats, ObjIndex};
pub use raw::{AllocFlags, Level, RawCache};
pub use typed::KmemCache;
