//! Python binding of haybarn: converts arguments and guards lifetimes; every algorithm is in the core.

mod addresses;
mod args;
mod attach;
mod cache;
mod cache_view;
mod census;
mod construct;
mod ending;
mod errors;
mod fault;
mod flags;
mod foreign;
mod gate;
mod geometry;
mod guarded;
mod kmalloc;
mod lab_bench;
mod lab_replay;
mod lab_stress;
mod last;
mod leaks;
mod lifetimes;
mod methods;
mod object;
mod prefilled;
mod rcu;
mod registry;
mod report;
mod sites;
mod state;
mod storage;
mod sysfs;
mod table;
mod turn;

use pyo3::prelude::*;

/// The binary half of the package `haybarn`.
#[pymodule(gil_used = false)]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::cache::KmemCache;
    #[pymodule_export]
    use crate::cache_view::CacheView;
    #[pymodule_export]
    use crate::census::{all_stats, caches};
    #[pymodule_export]
    use crate::geometry::{Geometry, geometry};
    #[pymodule_export]
    use crate::prefilled::PrefilledSheaf;
    #[pymodule_export]
    use crate::report::{info, slabinfo};
    #[pymodule_export]
    use crate::storage::CacheStorage;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::register(module)?;
        // What is public is for the package to say, not for the order of registration.
        module.delattr("__all__")
    }
}

/// What a table or a raw type adds to the module; the lab's parts add their own line here.
fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    object::refuse_subinterpreters(module.py())?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    errors::register(module)?;
    fault::register(module)?;
    flags::register(module)?;
    object::register(module)?;
    let class = module.py().get_type::<cache::KmemCache>();
    object::install(&class)?;
    construct::install(&class, &module.py().get_type::<prefilled::PrefilledSheaf>());
    registry::register(module)?;
    leaks::register(module)?;
    kmalloc::register(module)?;
    rcu::register(module)?;
    sysfs::register(module)?;
    lab_bench::register(module)?;
    lab_replay::register(module)?;
    lab_stress::register(module)
}
