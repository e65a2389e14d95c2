#![forbid(unsafe_code)]
//! Whether an allocation may be served, or a fault wants it to fail.

use super::header::Cache;
use crate::inject;

/// Whether an allocation of so many objects may go on; to be asked once per call, before anything is taken. While no fault is
/// about the cache it costs a load.
#[inline]
pub(super) fn may_alloc(cache: &Cache, objects: usize) -> bool {
    let asks = cache.parked.get() != 0;
    !asks || inject::object(cache.slots().0.addr(), objects.saturating_mul(cache.geometry.object_size))
}
