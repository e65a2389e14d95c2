//! `haybarn.geometry`: the numbers that Linux would choose, without creating anything.
#![forbid(unsafe_code)]

use haybarn::slab::flags::SlabFlags;
use haybarn::slab::geometry::{self as core, GeometryRequest};
use pyo3::prelude::*;

use crate::args::{Args, Given};
use crate::errors::{self, Kind};
use crate::flags;

/// The numbers of one cache; see the stub for its Python documentation.
#[pyclass(frozen, eq, hash, immutable_type, module = "haybarn", skip_from_py_object)]
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Geometry {
    #[pyo3(get)]
    object_size: usize,
    #[pyo3(get)]
    slab_size: usize,
    #[pyo3(get)]
    align: usize,
    #[pyo3(get)]
    order: u8,
    #[pyo3(get)]
    objs_per_slab: u32,
    #[pyo3(get)]
    fallback_order: u8,
    #[pyo3(get)]
    fallback_objs: u32,
    #[pyo3(get)]
    inuse: usize,
    #[pyo3(get)]
    freeptr_offset: usize,
    #[pyo3(get)]
    red_left_pad: usize,
    #[pyo3(get)]
    min_partial: u32,
    #[pyo3(get)]
    sheaf_capacity: u32,
    given: SlabFlags,
}

#[pymethods]
impl Geometry {
    /// The flags that were asked for.
    #[getter]
    fn flags<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        flags::to_python(py, self.given)
    }

    fn __repr__(&self) -> String {
        format!(
            "Geometry(object_size={}, slab_size={}, align={}, order={}, objs_per_slab={}, min_partial={}, sheaf_capacity={})",
            self.object_size,
            self.slab_size,
            self.align,
            self.order,
            self.objs_per_slab,
            self.min_partial,
            self.sheaf_capacity
        )
    }
}

/// The numbers that Linux would choose for a cache; pure.
///
/// size is in bytes; cpus=None means as many as Linux would count on this machine. Every flag counts, also those that
/// caches do not take yet. Raises BadArgumentError.
#[pyfunction]
#[pyo3(signature = (size, *, align=Given(None), flags=Given(None), has_ctor=false, freeptr_offset=None, cpus=None, min_order=Given(None),
    sheaf_capacity=Given(None)))]
#[pyo3(text_signature = "(size, *, align=0, flags=0, has_ctor=False, freeptr_offset=None, cpus=None, min_order=0, \
    sheaf_capacity=0)")]
#[expect(clippy::too_many_arguments, reason = "keywords of a Python function")]
pub(crate) fn geometry(
    py: Python<'_>,
    size: &Bound<'_, PyAny>,
    align: Given<'_>,
    flags: Given<'_>,
    has_ctor: bool,
    freeptr_offset: Option<&Bound<'_, PyAny>>,
    cpus: Option<&Bound<'_, PyAny>>,
    min_order: Given<'_>,
    sheaf_capacity: Given<'_>,
) -> PyResult<Geometry> {
    let args = Args { py, cache: "" };
    let cpus = args.cpus(cpus)?;
    let request = GeometryRequest {
        object_size: args.size(size)?,
        align: args.align(&align)?,
        flags: args.flags(&flags)?,
        has_ctor,
        freeptr_offset: args.freeptr_offset(freeptr_offset)?,
        cpus: cpus.unwrap_or_else(|| core::default_cpus(haybarn::present_cpus(), haybarn::possible_cpus())),
        min_order: args.min_order(&min_order)?,
        sheaf_capacity: args.sheaf_capacity(&sheaf_capacity)?,
    };
    let found = core::geometry(&request).map_err(|error| {
        let argument = errors::python_name(error.argument);
        errors::error(py, Kind::BadArgument, format!("{argument} = {} is not legal: {}", error.value, error.legal))
    })?;
    Ok(Geometry {
        object_size: found.object_size,
        slab_size: found.slab_size,
        align: found.align,
        order: found.order,
        objs_per_slab: found.objs_per_slab,
        fallback_order: found.fallback_order,
        fallback_objs: found.fallback_objs,
        inuse: found.inuse,
        freeptr_offset: found.offset,
        red_left_pad: found.red_left_pad,
        min_partial: found.min_partial,
        sheaf_capacity: found.sheaf_capacity,
        given: request.flags,
    })
}
