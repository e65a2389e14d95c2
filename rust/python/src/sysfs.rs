//! The tree of attributes for Python: the functions of `haybarn.sysfs`, and attributes that are open.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use haybarn::sysfs::{self, Attribute, Outside, SysfsError, Value};
use haybarn::{Arena, kmalloc};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::cache::KmemCache;
use crate::lifetimes::inside;
use crate::{errors, foreign, kmalloc as classes, registry};

fn arena(py: Python<'_>) -> PyResult<&'static Arena> {
    Arena::global().map_err(|error| errors::from_core(py, error))
}

fn raised(py: Python<'_>, error: &SysfsError) -> PyErr {
    errors::sysfs(py, error.errno.number(), error.message(), &error.path)
}

/// A path: a str, or what os.fspath makes one of.
fn path(given: &Bound<'_, PyAny>) -> PyResult<String> {
    let py = given.py();
    let text = foreign::call_with(&py.import("os")?.getattr("fspath")?, given)?;
    let Ok(text) = text.cast::<PyString>() else {
        return Err(PyTypeError::new_err("a path is a str, not bytes"));
    };
    // No name has what UTF-8 cannot encode.
    text.to_str().map(str::to_owned).map_err(|_| errors::sysfs(py, 2, "No such file or directory".to_owned(), "?"))
}

/// The Python cache of that name, if there is one.
fn python_cache<'py>(py: Python<'py>, name: &str) -> PyResult<Option<Bound<'py, KmemCache>>> {
    Ok(registry::living(py)?.into_iter().find(|cache| cache.get().name == name))
}

/// What Python's own calls have counted, by cache.
struct Tallies(HashMap<String, Outside>);

impl Tallies {
    fn all(py: Python<'_>) -> PyResult<Self> {
        let count = |cache: &Bound<'_, KmemCache>| {
            let (allocs, frees) = cache.get().uncounted_by_core()?;
            Some((cache.get().name.clone(), Outside { allocs, frees }))
        };
        let mut all: HashMap<_, _> = registry::living(py)?.iter().filter_map(count).collect();
        let arena = arena(py)?;
        for (name, class) in arena.names().iter().filter_map(|name| Some((name, kmalloc::class_named(arena, name)?))) {
            if !name.info().counts_hits {
                let (allocs, frees) = classes::tally(class);
                all.insert(name.name().to_owned(), Outside { allocs, frees });
            }
        }
        Ok(Self(all))
    }

    /// Those that an attribute is made of: most are made of none.
    fn of(py: Python<'_>, attribute: &Attribute) -> PyResult<Self> {
        match attribute.name() {
            "alloc_fastpath" | "free_fastpath" => Self::all(py),
            _ => Ok(Self(HashMap::new())),
        }
    }

    fn get(&self, name: &str) -> Option<Outside> {
        self.0.get(name).copied()
    }
}

fn open_core(py: Python<'_>, given: &Bound<'_, PyAny>) -> PyResult<Attribute> {
    let (arena, path) = (arena(py)?, path(given)?);
    py.detach(|| sysfs::open(arena, &path)).map_err(|error| raised(py, &error))
}

fn value(py: Python<'_>, attribute: &Attribute) -> PyResult<Value> {
    let tallies = Tallies::of(py, attribute)?;
    py.detach(|| attribute.value_with(&|name| tallies.get(name))).map_err(|error| raised(py, &error))
}

fn store(py: Python<'_>, attribute: &Attribute, text: &str) -> PyResult<usize> {
    let tallies = Tallies::of(py, attribute)?;
    let what = match attribute.name() {
        "shrink" => Some(inside::SHRINK),
        "validate" => Some(inside::VALIDATE),
        _ => None,
    };
    let cache = if what.is_some() { python_cache(py, attribute.cache())? } else { None };
    if let (Some(cache), Some(what)) = (&cache, what) {
        cache.get().check_outside(py, what)?;
    }
    let stored = py.detach(|| attribute.write_with(text, &|name| tallies.get(name)));
    if let Some(cache) = cache {
        cache.get().guarded.settle(py);
    }
    stored.map_err(|error| raised(py, &error))?;
    Ok(text.chars().count())
}

/// A value as Python has it: a number, a line without its end, a sum with its shares, None for what can only be written.
fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    let shares = |total: &u64, of: &str, shares: &[u64]| -> PyResult<Bound<'py, PyAny>> {
        let by = PyDict::new(py);
        for (n, share) in shares.iter().enumerate().filter(|&(_, &share)| share > 0) {
            by.set_item(n, share)?;
        }
        let dict = PyDict::new(py);
        dict.set_item("total", total)?;
        dict.set_item(of, by)?;
        Ok(dict.into_any())
    };
    match value {
        Value::Nothing => Ok(py.None().into_bound(py)),
        Value::Number(number) => Ok(number.into_pyobject(py)?.into_any()),
        Value::Text(text) => Ok(PyString::new(py, text).into_any()),
        Value::Nodes { total, nodes } => shares(total, "nodes", nodes),
        Value::Cpus { total, cpus } => shares(total, "cpus", cpus),
    }
}

/// The names in a folder: of "/" the caches', oldest first; of a cache's folder its attributes' and "primary".
#[pyfunction]
#[pyo3(signature = (path="/".into()), text_signature = "(path='/')")]
fn _sysfs_listdir(py: Python<'_>, path: Path) -> PyResult<Vec<String>> {
    let (arena, path) = (arena(py)?, path.0);
    py.detach(|| sysfs::listdir(arena, &path)).map_err(|error| raised(py, &error))
}

/// What an attribute's file holds: one line with its newline, or nothing.
#[pyfunction]
fn _sysfs_read(py: Python<'_>, path: &Bound<'_, PyAny>) -> PyResult<String> {
    Ok(value(py, &open_core(py, path)?)?.to_string())
}

/// Writes to an attribute; how many characters.
#[pyfunction]
fn _sysfs_write(py: Python<'_>, path: &Bound<'_, PyAny>, text: &str) -> PyResult<usize> {
    store(py, &open_core(py, path)?, text)
}

/// Where a link leads, from its folder.
#[pyfunction]
fn _sysfs_readlink(py: Python<'_>, path: &Bound<'_, PyAny>) -> PyResult<String> {
    let (arena, path) = (arena(py)?, self::path(path)?);
    py.detach(|| sysfs::readlink(arena, &path)).map_err(|error| raised(py, &error))
}

/// An attribute to read and write again and again; a context manager.
#[pyfunction]
fn _sysfs_open(py: Python<'_>, path: &Bound<'_, PyAny>) -> PyResult<Open> {
    Ok(Open(Mutex::new(Some(open_core(py, path)?))))
}

/// A cache's attributes as a dict; of "/" all caches' by name.
#[pyfunction]
#[pyo3(signature = (path="/".into()), text_signature = "(path='/')")]
fn _sysfs_as_dict(py: Python<'_>, path: Path) -> PyResult<Bound<'_, PyDict>> {
    let (arena, path) = (arena(py)?, path.0);
    let tallies = Tallies::all(py)?;
    if !sysfs::is_root(arena, &path) {
        let values =
            py.detach(|| sysfs::values(arena, &path, &|name| tallies.get(name))).map_err(|error| raised(py, &error))?;
        return folder(py, &values);
    }
    let all = py.detach(|| sysfs::all_values(arena, &|name| tallies.get(name)));
    let dict = PyDict::new(py);
    for (name, values) in &all {
        dict.set_item(name, folder(py, values)?)?;
    }
    Ok(dict)
}

fn folder<'py>(py: Python<'py>, values: &[(&'static str, Value)]) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, value) in values {
        dict.set_item(PyString::intern(py, name), to_python(py, value)?)?;
    }
    Ok(dict)
}

/// A path argument that may be left out.
struct Path(String);

impl From<&str> for Path {
    fn from(path: &str) -> Self {
        Self(path.to_owned())
    }
}

impl<'py> FromPyObject<'_, 'py> for Path {
    type Error = PyErr;

    fn extract(given: pyo3::Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        path(&given).map(Self)
    }
}

/// An open attribute: see `haybarn.sysfs.open`. After its cache's end it raises SysfsError with ENODEV, also when another
/// cache has taken the name; what its cache was made to keep alive stays alive until it is closed.
#[pyclass(frozen, immutable_type, name = "Attribute", module = "haybarn.sysfs")]
struct Open(Mutex<Option<Attribute>>);

impl Open {
    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Attribute>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attribute(&self, py: Python<'_>) -> PyResult<Attribute> {
        let attribute = self.slot().clone();
        attribute.ok_or_else(|| errors::sysfs(py, 9, "Bad file descriptor (the attribute is closed)".to_owned(), ""))
    }
}

#[pymethods]
impl Open {
    /// What the file holds now.
    fn read(&self, py: Python<'_>) -> PyResult<String> {
        Ok(value(py, &self.attribute(py)?)?.to_string())
    }

    /// The same as a number, text, or dict of a sum and its shares; None for what can only be written.
    fn value<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &value(py, &self.attribute(py)?)?)
    }

    /// Writes to it; how many characters.
    fn write(&self, py: Python<'_>, text: &str) -> PyResult<usize> {
        store(py, &self.attribute(py)?, text)
    }

    /// Whether it can be written.
    fn writable(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.attribute(py)?.is_writable())
    }

    /// Lets go of the cache's name. Closing again does nothing.
    fn close(&self) {
        let attribute = self.slot().take();
        // With no lock held: what the name kept alive may be a Python object.
        drop(attribute);
    }

    /// Whether it is closed.
    #[getter]
    fn closed(&self) -> bool {
        self.slot().is_none()
    }

    /// The path that it was opened by.
    #[getter]
    fn path(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.attribute(py)?.path().to_owned())
    }

    fn __enter__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        this.get().attribute(this.py())?;
        Ok(this.clone())
    }

    #[pyo3(signature = (*_exc_info))]
    fn __exit__(&self, _exc_info: &Bound<'_, PyTuple>) {
        self.close();
    }

    fn __repr__(&self) -> String {
        let path = self.slot().as_ref().map(|attribute| attribute.path().to_owned());
        path.map_or_else(
            || "<haybarn.sysfs.Attribute, closed>".to_owned(),
            |path| format!("<haybarn.sysfs.Attribute '{path}'>"),
        )
    }
}

/// Adds the functions, under names that `haybarn.sysfs` gives better ones.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Open>()?;
    module.add_function(wrap_pyfunction!(_sysfs_listdir, module)?)?;
    module.add_function(wrap_pyfunction!(_sysfs_read, module)?)?;
    module.add_function(wrap_pyfunction!(_sysfs_write, module)?)?;
    module.add_function(wrap_pyfunction!(_sysfs_readlink, module)?)?;
    module.add_function(wrap_pyfunction!(_sysfs_open, module)?)?;
    module.add_function(wrap_pyfunction!(_sysfs_as_dict, module)?)
}
