//! Who runs the destructors of dead slabs: the next long call of a thread that holds the GIL, at its end, or whoever else does what was
//! put off, outside of everything. Where a slab dies without the GIL, the interpreter is asked for such a moment.
#![forbid(unsafe_code)]

use std::sync::OnceLock;

use haybarn::sync::Published;
use pyo3::prelude::*;

use crate::attach;
use crate::foreign;
use crate::lifetimes::{inside, later, soon};
use crate::registry;

/// 1 when slabs have died since somebody looked.
static DIED: OnceLock<Published> = OnceLock::new();

fn died() -> &'static Published {
    DIED.get_or_init(|| Published::new(0))
}

/// From now on whoever comes to do what was put off looks here too.
pub(super) fn install() {
    later::also(look);
}

/// Called by whatever thread frees the last object of a slab.
pub(super) fn slab_died() {
    if died().publish_if(0, 1).is_ok() && !attach::is_attached() {
        soon::ask();
    }
}

fn look(py: Python<'_>) {
    while !inside::anything() && died().read() != 0 && died().publish_if(1, 0).is_ok() {
        match registry::living(py) {
            Ok(caches) => caches.iter().for_each(|cache| cache.get().guarded.reap(py)),
            Err(error) => foreign::unraisable(py, error, None),
        }
    }
}
