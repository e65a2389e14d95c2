//! `SlabFlags` for Python: an `enum.IntFlag` made from the core's table at import.
#![forbid(unsafe_code)]

use haybarn::slab::flags::SlabFlags;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::foreign;

static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

fn class(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    let made = CLASS.get_or_try_init(py, || {
        let members: Vec<(&str, u32)> = SlabFlags::TABLE.iter().map(|row| (row.name, row.flag.bits())).collect();
        let named = PyDict::new(py);
        named.set_item("module", "haybarn")?;
        named.set_item("qualname", "SlabFlags")?;
        let class = py.import("enum")?.getattr("IntFlag")?.call(("SlabFlags", members), Some(&named))?;
        let lines = SlabFlags::TABLE.iter().map(|row| format!("{}: {}", row.name, row.help)).collect::<Vec<_>>();
        class.setattr("__doc__", format!("Linux's flags of a cache, without `SLAB_`.\n\n{}", lines.join("\n")))?;
        Ok::<_, PyErr>(class.unbind())
    })?;
    Ok(made.bind(py))
}

/// Those flags as Python's `SlabFlags`.
pub(crate) fn to_python(py: Python<'_>, flags: SlabFlags) -> PyResult<Bound<'_, PyAny>> {
    foreign::call_with(class(py)?, flags.bits().into_pyobject(py)?.as_any())
}

/// Adds the class to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("SlabFlags", class(module.py())?)
}
