//! The pages of an arena: where memory comes from and where it is.
//!
//! One range is reserved for user pages and committed by touching; a foreign address is rejected by one compare. It is cut into
//! chunks of 512 pages:
//!
//! | file | idea |
//! |---|---|
//! | `ids`, `config` | names of pages, chunks, orders, nodes; parameters and errors |
//! | `field`, `runs` | the bitmap of a chunk: find an aligned field and swap it in; the summary bits beside it |
//! | `chunk`, `growth` | the record of a chunk; fresh chunks from a bump pointer |
//! | `finder` | which chunk to look into: per-CPU hints, then the node's summary |
//! | `span` | free spans of whole chunks, by class |
//! | `store`, `alloc_runs`, `alloc_spans`, `trim`, `counts` | `Pages`, which puts them together |
//! | `map` | one word per page: what it is part of |
//! | `meta`, `block_pool` | memory for descriptors and sheaves, never next to user data |
//! | `source` | where the range comes from |
//! | `area`, `area_types` | arrays on reserved memory, and what may lie in them |

mod alloc_runs;
mod alloc_spans;
mod area;
mod area_types;
mod block_pool;
mod chunk;
mod config;
mod counts;
mod field;
mod finder;
mod growth;
mod ids;
mod map;
mod meta;
mod runs;
mod source;
mod span;
mod store;
mod trim;

pub(crate) use block_pool::{BlockPool, MetaLinks};
pub(crate) use config::PagesConfig;
pub(crate) use ids::{NodeId, Order, PAGE_SIZE, PageIndex};
pub(crate) use map::{MapWord, PageKind};
pub(crate) use meta::UNIT;
pub use source::{FailSwitch, Source};
pub(crate) use store::Pages;

#[cfg(all(test, not(loom)))]
mod limit_tests;
#[cfg(all(test, not(loom)))]
mod testing;
#[cfg(all(test, not(loom)))]
mod threads_tests;
