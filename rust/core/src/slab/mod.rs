#![forbid(unsafe_code)]
//! Slabs: geometry as Linux computes it, descriptors, and the protocol by which objects and whole slabs come and go.

mod descriptor;
pub mod flags;
pub mod geometry;
mod grave;
mod graveyard;
mod node;
mod protocol;
mod slabs;

pub(crate) use descriptor::{Descriptor, ObjRef, SlabState};
pub(crate) use graveyard::{exhume, lay_back, release_dead, ripen};
pub(crate) use node::NodeSlabs;
pub(crate) use protocol::{Taken, free_chain, give_back, harvest, publish, shrink};
pub(crate) use slabs::Slabs;

#[cfg(all(test, loom))]
mod modelling;
#[cfg(test)]
mod testing;
