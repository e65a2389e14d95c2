#![forbid(unsafe_code)]
//! Slabs: geometry as Linux computes it, descriptors, and the protocol by which objects and whole slabs come and go.

mod descriptor;
pub mod flags;
pub mod geometry;
mod node;
mod protocol;

pub(crate) use descriptor::{Descriptor, ObjRef, SlabState};
pub(crate) use node::NodeSlabs;
pub(crate) use protocol::{Slabs, Taken, free_chain, give_back, harvest, publish, shrink};

#[cfg(test)]
mod testing;
