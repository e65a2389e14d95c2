//! `SlabObject`, the hot type of the binding: raw slots of the C API instead of a `#[pyclass]`, because creating and
//! destroying one is what every user of the package pays for.
//!
//! | file | holds |
//! |---|---|
//! | `layout` | the struct, and the way from a `PyObject` pointer to it |
//! | `shells` | wrappers kept for reuse |
//! | `slots` | the type: its table of slots, deallocation, buffers, `len`, repr |
//! | `methods` | `free`, `with`, `__sizeof__`, attributes |
//! | `hot` | `KmemCache.alloc` and `KmemCache.free` |
//! | `bulk` | many at once |
//! | `retire` | `free_rcu`, and objects whose last view goes after it |
//! | `collected` | objects of caches with callbacks, which the garbage collector sees through |
//! | `view` | what constructors and destructors see |
//! | `aside` | objects and wrappers set aside |

mod aside;
mod bulk;
mod collected;
mod hot;
mod layout;
mod methods;
mod retire;
mod shells;
mod slots;
mod view;

pub(crate) use aside::{Refused, SetAside};
pub(crate) use bulk::{alloc_many, free_many};
pub(crate) use hot::free_rcu_of;
pub(crate) use retire::hand_over_parked;

use pyo3::prelude::*;

/// Readies the type, adds it to the module, and gives `KmemCache` its two hot methods.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("SlabObject", slots::ready(module.py())?)?;
    collected::ready(module.py())?;
    view::ready(module.py())
}

/// The methods that `KmemCache` gets as plain C functions.
pub(crate) use hot::install;
pub(crate) use shells::{reset_after_fork, watch};
pub(crate) use slots::refuse_subinterpreters;
pub(crate) use view::View;
