//! Python arguments into Rust numbers: wrong types are a `TypeError`, numbers that do not fit a `BadArgumentError` that
//! names argument, cache and legal range. What is legal within the type, the core decides.
#![forbid(unsafe_code)]

use haybarn::slab::flags::SlabFlags;
use haybarn::slab::geometry::{MAX_ALIGN, MAX_MIN_ORDER, MAX_SHEAF_CAPACITY, MAX_SIZE};
use pyo3::Borrowed;
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyString};

use crate::errors::{self, Kind};
use crate::foreign;

/// A keyword argument: `None` in here when it was left out (Python's own `None` is a value like any other).
pub(crate) struct Given<'py>(pub(crate) Option<Bound<'py, PyAny>>);

impl<'py> FromPyObject<'_, 'py> for Given<'py> {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        Ok(Self(Some(value.to_owned())))
    }
}

/// A cache's name. A string that no encoding knows (a lone surrogate) is a bad argument like any other.
pub(crate) fn name(value: &Bound<'_, PyString>) -> PyResult<String> {
    value.to_str().map(str::to_owned).map_err(|_| {
        let shown = value.repr().map_or_else(|_| "?".to_owned(), |repr| repr.to_string());
        Args { py: value.py(), cache: "" }.bad("name", &shown, "text that UTF-8 can encode, without space or '/'")
    })
}

/// Arguments as they come from Python, on their way to one cache (or to `geometry`, which has no name).
pub(crate) struct Args<'a, 'py> {
    pub(crate) py: Python<'py>,
    /// The cache's name; empty where there is none.
    pub(crate) cache: &'a str,
}

impl Args<'_, '_> {
    pub(crate) fn size(&self, value: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.number("size", value, || format!("1 to {MAX_SIZE} bytes"))
    }

    pub(crate) fn align(&self, value: &Given<'_>) -> PyResult<usize> {
        self.number_or_zero("align", value, || format!("0 or a power of two up to {MAX_ALIGN} bytes"))
    }

    pub(crate) fn sheaf_capacity(&self, value: &Given<'_>) -> PyResult<u32> {
        self.number_or_zero("sheaf_capacity", value, || format!("0 to {MAX_SHEAF_CAPACITY} objects"))
    }

    pub(crate) fn min_order(&self, value: &Given<'_>) -> PyResult<u8> {
        self.number_or_zero("min_order", value, || format!("0 to {MAX_MIN_ORDER}"))
    }

    pub(crate) fn freeptr_offset(&self, value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<usize>> {
        let legal = || "None, or a multiple of 8 below the size".into();
        value.map(|value| self.number("freeptr_offset", value, legal)).transpose()
    }

    /// The usercopy region of objects of `size` bytes: `useroffset`, `usersize`. That it is inside the object, the core checks.
    pub(crate) fn usercopy(
        &self,
        size: usize,
        offset: &Given<'_>,
        bytes: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<(usize, usize)>> {
        let legal = || format!("0 to the object size of {size} bytes");
        let offset: usize = self.number_or_zero("useroffset", offset, legal)?;
        let Some(bytes) = bytes else {
            let legal = "0 where usersize is None, which shows the whole object: say usersize too";
            return if offset == 0 { Ok(None) } else { Err(self.bad("useroffset", &offset.to_string(), legal)) };
        };
        let legal = || format!("None, or 0 to the object size of {size} bytes");
        self.number("usersize", bytes, legal).map(|bytes| Some((offset, bytes)))
    }

    pub(crate) fn cpus(&self, value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<u32>> {
        value.map(|value| self.number("cpus", value, || format!("1 to {}", u32::MAX))).transpose()
    }

    pub(crate) fn count(&self, value: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.number("n", value, || format!("0 to {} objects", isize::MAX))
    }

    /// A size of memory, 0 to `most` bytes.
    pub(crate) fn bytes(&self, value: &Bound<'_, PyAny>, most: usize) -> PyResult<usize> {
        let legal = || format!("0 to {most} bytes");
        let n: usize = self.number("n", value, legal)?;
        if n > most { Err(self.bad("n", &n.to_string(), &legal())) } else { Ok(n) }
    }

    pub(crate) fn probability(&self, value: &Given<'_>) -> PyResult<f64> {
        let Some(value) = &value.0 else { return Ok(1.0) };
        foreign::float(value).map_err(|error| {
            if error.is_instance_of::<PyOverflowError>(self.py) {
                self.bad("probability", "a huge number", "0 to 1")
            } else if error.is_instance_of::<PyTypeError>(self.py) {
                self.wrong_type("probability", "a number", value)
            } else {
                error
            }
        })
    }

    pub(crate) fn interval(&self, value: &Given<'_>) -> PyResult<u64> {
        value.0.as_ref().map_or(Ok(1), |value| self.number("interval", value, || format!("1 to {}", u64::MAX)))
    }

    pub(crate) fn space(&self, value: &Given<'_>) -> PyResult<u64> {
        self.number_or_zero("space", value, || format!("0 to {} bytes", u64::MAX))
    }

    pub(crate) fn times(&self, value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<u64>> {
        let legal = || format!("None, or 0 to {}", u64::MAX - 1);
        value.map(|value| self.number("times", value, legal)).transpose()
    }

    pub(crate) fn prefilled(&self, value: &Bound<'_, PyAny>) -> PyResult<usize> {
        let legal = || format!("1 to {} objects", u32::MAX);
        let n: usize = self.number("n", value, legal)?;
        if n == 0 || n > u32::MAX as usize { Err(self.bad("n", &n.to_string(), &legal())) } else { Ok(n) }
    }

    /// One of an arena's nodes.
    pub(crate) fn node(&self, value: &Bound<'_, PyAny>, nodes: u32) -> PyResult<u32> {
        let legal = || format!("None, or 0 to {}", nodes - 1);
        let node: u32 = self.number("node", value, legal)?;
        if node < nodes { Ok(node) } else { Err(self.bad("node", &node.to_string(), &legal())) }
    }

    /// Per cent of refills.
    pub(crate) fn defrag_ratio(&self, value: &Bound<'_, PyAny>) -> PyResult<u32> {
        self.number("remote_node_defrag_ratio", value, || "0 to 100 (per cent)".into())
    }

    /// An `int` or a `SlabFlags`; a bit that no flag has is an error, a flag that caches do not take yet is the core's.
    pub(crate) fn flags(&self, value: &Given<'_>) -> PyResult<SlabFlags> {
        let legal = || format!("SlabFlags, bits of {:#x}", SlabFlags::all().bits());
        let bits: u32 = self.number_or_zero("flags", value, legal)?;
        SlabFlags::from_bits(bits).ok_or_else(|| self.bad("flags", &format!("{bits:#x}"), &legal()))
    }

    /// A number for `argument`, or the error for one that does not fit `T`.
    fn number<T>(&self, argument: &str, value: &Bound<'_, PyAny>, legal: impl FnOnce() -> String) -> PyResult<T>
    where
        T: for<'a, 'py> FromPyObject<'a, 'py, Error = PyErr>,
    {
        let number = if value.is_instance_of::<PyInt>() { Ok(value.clone()) } else { foreign::index(value) };
        number.and_then(|number| number.extract::<T>()).map_err(|error| {
            if error.is_instance_of::<PyOverflowError>(self.py) {
                let given = foreign::text(value).map_or_else(|_| "a huge number".into(), |text| text.to_string());
                self.bad(argument, &given, &legal())
            } else if value.is_instance_of::<PyInt>() || !error.is_instance_of::<PyTypeError>(self.py) {
                error
            } else {
                self.wrong_type(argument, "an int", value)
            }
        })
    }

    fn number_or_zero<T>(&self, argument: &str, value: &Given<'_>, legal: impl FnOnce() -> String) -> PyResult<T>
    where
        T: for<'a, 'py> FromPyObject<'a, 'py, Error = PyErr> + Default,
    {
        value.0.as_ref().map_or_else(|| Ok(T::default()), |value| self.number(argument, value, legal))
    }

    /// Something that can be called, or nothing.
    pub(crate) fn callable(&self, argument: &str, value: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        match value {
            Some(value) if !value.is_callable() => Err(self.wrong_type(argument, "callable or None", value)),
            _ => Ok(()),
        }
    }

    #[cold]
    fn bad(&self, argument: &str, value: &str, legal: &str) -> PyErr {
        let of = if self.cache.is_empty() { String::new() } else { format!("cache '{}': ", self.cache) };
        errors::error(self.py, Kind::BadArgument, format!("{of}{argument} = {value} is not legal: {legal}"))
    }

    #[cold]
    fn wrong_type(&self, argument: &str, wanted: &str, value: &Bound<'_, PyAny>) -> PyErr {
        errors::wrong_type(self.cache, argument, wanted, value)
    }
}
