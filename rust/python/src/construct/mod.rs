//! Constructors and destructors in Python: `ctor` is called once for each slot of a slab when the slab is made, what it returns
//! stays with the slot as its *payload*, and `dtor` is called when the slab's pages go. What a cache keeps for that is in
//! `lifetimes`; here is what calls.
//!
//! | file | holds |
//! |---|---|
//! | `hooks` | the core's hooks: calls of `ctor` and `dtor` |
//! | `reaping` | who runs the destructors of slabs that die without the GIL, or inside of something |
//! | `finalizer` | the end of a cache, or a prefilled sheaf, that nobody refers to any more |

mod finalizer;
mod hooks;
mod reaping;

use pyo3::prelude::*;
use pyo3::types::PyType;

pub(crate) use hooks::Calls;

/// Gives the classes of caches and of prefilled sheaves their finalizers.
pub(crate) fn install(caches: &Bound<'_, PyType>, sheaves: &Bound<'_, PyType>) {
    reaping::install();
    finalizer::install(caches);
    finalizer::install_for_sheaves(sheaves);
}
