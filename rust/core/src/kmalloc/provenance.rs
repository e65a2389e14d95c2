#![forbid(unsafe_code)]
//! What lies at an address. Source: `kmem_dump_obj` (mm/slab_common.c).

use crate::cache::{Arena, Found};
use crate::error::Error;
use core::fmt;

/// What starts at an address, at the moment of the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The address.
    pub address: usize,
    /// The storage's name and the object's index in its slab; `None` for whole pages.
    pub object: Option<(String, u32)>,
    /// Bytes that may be used.
    pub bytes: usize,
}

/// What starts at any address: safe, and takes a lock. It cannot say whether the object is free.
///
/// # Errors
/// [`Error::BadPointer`] for an address that is foreign, interior or misaligned.
pub fn provenance(arena: &'static Arena, address: *const u8) -> Result<Provenance, Error> {
    let (found, bytes) = arena.find_checked(address.addr())?;
    let object = match found {
        Found::Object(cache) => Some((cache.info().name, cache.check(address)?.0)),
        Found::Large(..) => None,
    };
    Ok(Provenance { address: address.addr(), object, bytes })
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, object, bytes } = self;
        match object {
            Some((cache, index)) => {
                write!(f, "{address:#x}: object {index} of its slab in cache '{cache}', {bytes} bytes")
            }
            None => write!(f, "{address:#x}: whole pages, {bytes} bytes"),
        }
    }
}
