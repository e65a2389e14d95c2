//! The oracle: it watches what an allocator hands out and takes back, and says when that cannot be right.
//!
//! | check | how | when |
//! |---|---|---|
//! | overlap, handed out twice | [`Claims`]: one bit per 8 bytes of address space, set by one atomic OR per 256 bytes | at alloc |
//! | given back while not held | the same bits, cleared by one atomic AND | at free |
//! | alignment | the address against the cache's effective alignment | at alloc |
//! | object grid | the allocator's own `check` of the address | at some allocs |
//! | contents | [`stamp`]: who holds the object, written over it, compared before the free | at free |
//! | zeroing | every byte of an object that was asked for as zeroed | at alloc |
//! | what was set aside | it can be taken, whatever is made to fail meanwhile | at alloc from a prefilled sheaf |
//! | conservation | [`conservation`]: what was handed out came back, and the allocator knows it | at the end |
//!
//! Nothing here takes a lock or waits while the allocator is used, so that the oracle does not serialise the threads whose races it
//! is to show. Threads share a line of bits only where their objects lie within the same 2 KiB.

pub mod claims;
pub mod conservation;
mod counter;
pub mod ledger;
pub mod stamp;
pub mod subject;

pub use claims::Claims;
pub use ledger::{Kind, Ledger, Violation};
pub use stamp::Tag;
pub use subject::{Aside, Census, Counters, Subject, Watched};
