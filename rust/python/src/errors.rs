//! The error hierarchy: one row per class, and how the core's errors become Python's.
#![forbid(unsafe_code)]

use haybarn::{Error, LiveObject};
use pyo3::PyTypeInfo;
use pyo3::exceptions::{
    PyBufferError, PyException, PyIndexError, PyMemoryError, PyOSError, PyRuntimeError, PyTypeError, PyValueError,
};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::sites::Site;

/// One class of the hierarchy; its number is its row in [`ROWS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Kind {
    Haybarn,
    UseAfterFree,
    DoubleFree,
    WrongCache,
    CacheDestroyed,
    BadArgument,
    CacheBusy,
    Corruption,
    OutOfMemory,
    ObjectInUse,
    Unavailable,
    ReadSection,
    Reentry,
    SheafEmpty,
    Sysfs,
    AlreadySetUp,
    StorageInUse,
}

struct Row {
    kind: Kind,
    name: &'static str,
    builtin: fn(Python<'_>) -> Bound<'_, PyType>,
    doc: &'static str,
}

fn builtin<T: PyTypeInfo>(py: Python<'_>) -> Bound<'_, PyType> {
    py.get_type::<T>()
}

macro_rules! rows {
    ($($kind:ident $name:literal $builtin:ident $doc:literal;)*) => {
        &[$(Row { kind: Kind::$kind, name: $name, builtin: builtin::<$builtin>, doc: $doc }),*]
    };
}

/// The first row is the base of the others; each of those is also the builtin that it names.
const ROWS: &[Row] = rows! {
    Haybarn "HaybarnError" PyException "Base of every error that haybarn raises.";
    UseAfterFree "UseAfterFreeError" PyValueError "An object was used after it had been freed.";
    DoubleFree "DoubleFreeError" PyValueError "An object was freed a second time.";
    WrongCache "WrongCacheError" PyValueError "An object was given to a cache that it does not come from.";
    CacheDestroyed "CacheDestroyedError" PyValueError "The cache has been closed or destroyed.";
    BadArgument "BadArgumentError" PyValueError "An argument is outside its legal range.";
    CacheBusy "CacheBusyError" PyRuntimeError "The cache cannot be destroyed: objects of it are live, or prefilled sheaves out. `live` says how many objects, `objects` where the first 64 are: \
        a list of (address, index in the slab), and `sites` where each was allocated (\"file:line\", None where that is not tracked); \
        `shared` is True where `objects` may be of other caches that share the slabs; `prefilled` says how many sheaves.";
    Corruption "CorruptionError" PyRuntimeError "The consistency check of a cache found damage.";
    OutOfMemory "OutOfMemoryError" PyMemoryError "Memory for an object or a cache is not to be had.";
    ObjectInUse "ObjectInUseError" PyBufferError "An object cannot be freed: memoryviews of it are live.";
    Unavailable "UnavailableError" PyRuntimeError "What was asked for does not exist on this machine.";
    ReadSection "ReadSectionError" PyRuntimeError "A read section of RCU was misused: waited for readers inside one, or left one that is not the \
        caller's.";
    Reentry "ReentryError" PyRuntimeError "A constructor or destructor asked a cache for something that could lead back into it, or a callback \
        waited for itself.";
    SheafEmpty "SheafEmptyError" PyIndexError "A prefilled sheaf has no object left.";
    Sysfs "SysfsError" PyOSError "An operation on the tree of attributes failed; `errno` is what Linux gives.";
    AlreadySetUp "AlreadySetUpError" PyRuntimeError "A cache was to be made in storage that holds one.";
    StorageInUse "StorageInUseError" PyRuntimeError "A cache was to be made in storage whose last one is gone but still being read.";
};

static TYPES: PyOnceLock<Vec<Py<PyType>>> = PyOnceLock::new();

fn types(py: Python<'_>) -> PyResult<&Vec<Py<PyType>>> {
    TYPES.get_or_try_init(py, || {
        let mut types: Vec<Py<PyType>> = Vec::with_capacity(ROWS.len());
        for (at, row) in ROWS.iter().enumerate() {
            assert_eq!(row.kind as usize, at, "rows and kinds in one order");
            let bases = match types.first() {
                None => PyTuple::new(py, [(row.builtin)(py)])?,
                Some(base) => PyTuple::new(py, [base.bind(py).clone(), (row.builtin)(py)])?,
            };
            let names = PyDict::new(py);
            names.set_item("__module__", "haybarn")?;
            names.set_item("__doc__", row.doc)?;
            let made = py.get_type::<PyType>().call1((row.name, bases, names))?;
            types.push(made.cast_into::<PyType>()?.unbind());
        }
        Ok(types)
    })
}

/// Adds every class to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    for class in types(py)? {
        let class = class.bind(py);
        module.add(class.name()?, class)?;
    }
    Ok(())
}

/// An error of that class with that text.
#[cold]
pub(crate) fn error(py: Python<'_>, kind: Kind, text: impl Into<String>) -> PyErr {
    match types(py) {
        Ok(types) => PyErr::from_type(types[kind as usize].bind(py).clone(), (text.into(),)),
        Err(error) => error,
    }
}

/// An error of the tree of attributes.
#[cold]
pub(crate) fn sysfs(py: Python<'_>, errno: i32, text: String, path: &str) -> PyErr {
    match types(py) {
        Ok(types) => PyErr::from_type(types[Kind::Sysfs as usize].bind(py).clone(), (errno, text, path.to_owned())),
        Err(error) => error,
    }
}

/// A TypeError about an argument of a cache (an empty name: of none).
#[cold]
pub(crate) fn wrong_type(cache: &str, argument: &str, wanted: &str, value: &Bound<'_, PyAny>) -> PyErr {
    let of = if cache.is_empty() { String::new() } else { format!("cache '{cache}': ") };
    let given = value.get_type().name().map_or_else(|_| "?".into(), |name| name.to_string());
    PyTypeError::new_err(format!("{of}{argument} must be {wanted}, not '{given}'"))
}

/// What Python calls an argument of the core.
pub(crate) fn python_name(argument: &'static str) -> &'static str {
    if argument == "object_size" { "size" } else { argument }
}

/// The Python error for an error of the core; its text is the core's.
#[cold]
pub(crate) fn from_core(py: Python<'_>, mut error: Error) -> PyErr {
    if let Error::BadArgument { argument, .. } = &mut error {
        *argument = python_name(argument);
    }
    let kind = match &error {
        Error::BadArgument { .. } | Error::BadPointer { .. } => Kind::BadArgument,
        Error::OutOfMemory { .. } => Kind::OutOfMemory,
        Error::CacheBusy { .. } => Kind::CacheBusy,
        Error::WrongCache { .. } => Kind::WrongCache,
        Error::Corruption { .. } => Kind::Corruption,
        Error::Unavailable { .. } => Kind::Unavailable,
        Error::SheafEmpty { .. } => Kind::SheafEmpty,
        Error::InReadSection { .. } => Kind::ReadSection,
        Error::InCallback { .. } | Error::Reentry { .. } => Kind::Reentry,
        Error::AlreadySetUp { .. } => Kind::AlreadySetUp,
        Error::StorageInUse { .. } => Kind::StorageInUse,
        // What later versions add: the base class fits every one.
        _ => Kind::Haybarn,
    };
    if let Error::CacheBusy { live, prefilled, sample, .. } = &error {
        let named = Named { objects: sample.clone(), sites: vec![None; sample.len()], shared: false };
        return busy(py, error.to_string(), (*live, *prefilled), named);
    }
    self::error(py, kind, error.to_string())
}

/// The objects that the error for a busy cache names.
pub(crate) struct Named {
    pub(crate) objects: Vec<LiveObject>,
    /// Where each of them was allocated.
    pub(crate) sites: Vec<Site>,
    /// Whether they may be of others that share the slabs.
    pub(crate) shared: bool,
}

/// The error for a cache with live objects, or with prefilled sheaves out.
#[cold]
pub(crate) fn busy(py: Python<'_>, text: String, (live, prefilled): (u64, u64), named: Named) -> PyErr {
    let raised = error(py, Kind::CacheBusy, text);
    let value = raised.value(py);
    let set = || {
        value.setattr("live", live)?;
        value.setattr("prefilled", prefilled)?;
        value.setattr("objects", named.objects.iter().map(|one| (one.address, one.index)).collect::<Vec<_>>())?;
        value.setattr("sites", named.sites.iter().map(Option::as_deref).collect::<Vec<_>>())?;
        value.setattr("shared", named.shared)
    };
    // An attribute that cannot be set is an error of its own, which tells more than a lost list.
    set().err().unwrap_or(raised)
}
