//! The C interface: `libhaybarn.so`, `libhaybarn.a`, and the header include/haybarn.h that cbindgen makes of these files.
//!
//! | file | idea |
//! |---|---|
//! | `abi` | the types and numbers that C sees |
//! | `failure` | errors as numbers and as text, reports, and the wall that no panic passes |
//! | `process` | the arena of the process, at no cost once it is there |
//! | `handle` | what a `struct kmem_cache` is: one from the heap, or one that a program has set aside |
//! | `wanted` | what C asks of a new cache, as the core takes it |
//! | `create`, `setup`, `objects`, `bulk`, `sheaf` | caches: made and ended; their objects, one by one, many at once, set aside |
//! | `size`, `resize`, `buckets`, `copies` | the kmalloc family |
//! | `attributes` | the tree of caches and their attributes |
//! | `nolock` | for signal handlers |
//! | `deferred` | RCU, and frees after a grace period |
//!
//! Names, arguments and results are those of linux/slab.h. An entry is its inlined path and one call to where everything else
//! is done: inside [`failure::guard`], where errors become `errno` and a text.
#![deny(unsafe_op_in_unsafe_fn)]
#![allow(non_camel_case_types)] // C's names

mod abi;
mod attributes;
mod buckets;
mod bulk;
mod copies;
mod create;
mod deferred;
mod failure;
mod handle;
mod nolock;
mod objects;
mod process;
mod resize;
mod setup;
mod sheaf;
mod size;
mod wanted;
