//! `haybarn.kmalloc` and what belongs to it: memory by size as a buffer of exactly the length asked for.
//!
//! Its caches are the core's and never end: their gates only count. The state word is that of `SlabObject`.

use std::array;
use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::LazyLock;

use haybarn::fault::{Point, request};
use haybarn::kmalloc as core;
use haybarn::sync::Published;
use haybarn::{AllocFlags, Arena, Error};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::args::Args;
use crate::errors::{self, Kind};
use crate::gate::{Does, Gate, Here};
use crate::sites::{self, Site, Sites};
use crate::state::{Refusal, State};

/// Memory of kmalloc(n): a writable buffer of exactly n bytes; ksize() says how many the allocator has set aside for it.
///
/// Goes back by free(), at the end of `with`, or with its last reference. Thread-safe: of two threads that free one object, one gets
/// DoubleFreeError.
#[pyclass(frozen, weakref, immutable_type, module = "haybarn")]
pub(crate) struct KmallocObject {
    arena: &'static Arena,
    address: Address,
    /// Changes in `krealloc` only, which has claimed the object then.
    len: Published,
    /// Whose object it is, of the size classes; `None`: whole pages, or no memory.
    class: Option<u8>,
    state: State,
}

/// Counts what Python takes of each size class and gives back. Made at the import.
static CLASSES: LazyLock<[Gate; core::SIZES.len()]> = LazyLock::new(|| array::from_fn(|_| Gate::new(false)));

fn count(class: Option<u8>, does: Does) {
    if let Some(class) = class {
        let _counted = CLASSES[class as usize].short(&Here::new(), does, || ((), true));
    }
}

/// Where the live objects were allocated, if `HAYBARN_TRACK` asked for that at the import.
static SITES: LazyLock<Result<Option<Sites>, Error>> = LazyLock::new(|| Ok(sites::wanted()?.then(Sites::default)));

fn sites() -> Option<&'static Sites> {
    SITES.as_ref().ok()?.as_ref()
}

/// Where a live object was allocated, if that is remembered.
pub(crate) fn site_of(py: Python<'_>, address: usize) -> Site {
    sites()?.of(py, address)?
}

/// Objects of a size class that Python took so far, and gave back.
pub(crate) fn tally(class: usize) -> (u64, u64) {
    CLASSES[class].tally()
}

struct Address(NonNull<u8>);

// SAFETY: memory of the arena belongs to no thread; the state word says whose it is.
unsafe impl Send for Address {}
// SAFETY: as above.
unsafe impl Sync for Address {}

impl KmallocObject {
    fn make(py: Python<'_>, n: usize, zero: bool) -> PyResult<Bound<'_, Self>> {
        let arena = Arena::global().map_err(|error| errors::from_core(py, error))?;
        let flags = if zero { AllocFlags::ZERO } else { AllocFlags::empty() };
        if !request(Point::Wrapper, size_of::<Self>()) {
            return Err(out_of_memory(py, n));
        }
        // Before the allocation: it may run Python code.
        let wanted = SITES.as_ref().map_err(|error| errors::from_core(py, error.clone()))?;
        let site = wanted.as_ref().map(|_| sites::here(py));
        let address = core::kmalloc(arena, n, flags).ok_or_else(|| no_memory(py, n))?;
        if let (Some(sites), Some(site), 1..) = (wanted, site, n) {
            sites.note(py, &site, std::iter::once(address.as_ptr().addr()));
        }
        let class = core::SIZES.binary_search(&core::kmalloc_size_roundup(n)).ok().map(|class| class as u8);
        count(class, Does::Alloc);
        let made =
            Self { arena, address: Address(address), len: Published::new(n as u64), class, state: State::live() };
        // What cannot be wrapped is dropped, and with it freed.
        Bound::new(py, made).map_err(|_| out_of_memory(py, n))
    }

    fn pointer(&self) -> *mut u8 {
        self.address.0.as_ptr()
    }

    fn length(&self) -> usize {
        self.len.read() as usize
    }

    /// Gives the memory back.
    ///
    /// # Safety
    /// The state says that it is the caller's alone, and will not say so again.
    unsafe fn give_back(&self) {
        count(self.class, Does::Free);
        if let Some(sites) = sites() {
            // Whoever frees is attached: a call of Python's, or the end of the object.
            Python::attach(|py| sites.forget(py, self.address.0));
        }
        // SAFETY: the caller's promise.
        unsafe { core::kfree(self.arena, self.pointer()) };
    }

    /// Bytes that the allocator has set aside. For a live object: the caller has claimed it or holds the GIL or a reference, and
    /// an address that was freed meanwhile has at worst another size.
    fn room(&self) -> usize {
        core::ksize_checked(self.arena, self.pointer()).unwrap_or(0)
    }

    #[cold]
    fn refused(&self, py: Python<'_>, refusal: Refusal, freeing: bool) -> PyErr {
        let address = self.pointer();
        match refusal {
            Refusal::Exported(n) => errors::error(
                py,
                Kind::ObjectInUse,
                format!(
                    "kmalloc: object at {address:p} has {n} live buffer(s): release the memoryviews and arrays first"
                ),
            ),
            _ if freeing => {
                errors::error(py, Kind::DoubleFree, format!("kmalloc: object at {address:p} is freed already"))
            }
            _ => errors::error(
                py,
                Kind::UseAfterFree,
                format!(
                    "kmalloc: object at {address:p} has been freed, or another call is at it: allocate another one"
                ),
            ),
        }
    }

    fn usable(&self, py: Python<'_>) -> PyResult<()> {
        self.state.usable().map_err(|refusal| self.refused(py, refusal, false))
    }
}

#[pymethods]
impl KmallocObject {
    /// Gives the memory back.
    ///
    /// Raises DoubleFreeError if that has happened already, ObjectInUseError while memoryviews of it are live.
    fn free(&self, py: Python<'_>) -> PyResult<()> {
        self.state.free().map_err(|refusal| self.refused(py, refusal, true))?;
        // SAFETY: the state has just gone from live to freed, which happens once.
        unsafe { self.give_back() };
        Ok(())
    }

    /// Where the memory is (UseAfterFreeError once freed); 16 for an object of 0 bytes, which has none.
    #[getter]
    fn address(&self, py: Python<'_>) -> PyResult<usize> {
        self.usable(py)?;
        Ok(self.pointer().addr())
    }

    /// Bytes of the buffer: what was asked for.
    #[getter]
    fn nbytes(&self) -> usize {
        self.length()
    }

    /// Whether the memory has gone back.
    #[getter]
    fn freed(&self) -> bool {
        self.state.is_freed()
    }

    fn __len__(&self) -> usize {
        self.length()
    }

    /// Bytes of the wrapper and of the memory behind it.
    fn __sizeof__(&self) -> usize {
        size_of::<Self>() + if self.state.is_freed() { 0 } else { core::kmalloc_size_roundup(self.length()) }
    }

    fn __repr__(&self) -> String {
        let freed = if self.state.is_freed() { ", freed" } else { "" };
        format!("<haybarn.KmallocObject, {} bytes at {:p}{freed}>", self.length(), self.pointer())
    }

    fn __enter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        slf.get().usable(slf.py())?;
        Ok(slf.clone())
    }

    /// Frees the object unless the body has.
    #[pyo3(signature = (*_exc_info))]
    fn __exit__(&self, py: Python<'_>, _exc_info: &Bound<'_, PyTuple>) -> PyResult<()> {
        if self.state.is_freed() { Ok(()) } else { self.free(py) }
    }

    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        // SAFETY: the interpreter gives a view to fill in.
        unsafe { (*view).obj = ptr::null_mut() };
        // First, so that no free can come in between, and no `krealloc` changes the length.
        this.state.export().map_err(|refusal| this.refused(py, refusal, false))?;
        let (start, len) = (this.pointer().cast::<c_void>(), this.length() as ffi::Py_ssize_t);
        // SAFETY: attached; the memory is live and so long, and stays so while exported.
        if unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start, len, 0, flags) } != 0 {
            let _live = this.state.unexport();
            return Err(PyErr::fetch(py));
        }
        Ok(())
    }

    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        let _live = self.state.unexport();
    }
}

impl Drop for KmallocObject {
    fn drop(&mut self) {
        if !self.state.is_freed() {
            // SAFETY: the last reference is gone, and with it every buffer and every claim.
            unsafe { self.give_back() };
        }
    }
}

#[cold]
fn out_of_memory(py: Python<'_>, n: usize) -> PyErr {
    errors::error(py, Kind::OutOfMemory, format!("kmalloc: out of memory for {n} bytes"))
}

/// Why the core had none: inside a destructor it is refused, else memory is out.
#[cold]
fn no_memory(py: Python<'_>, n: usize) -> PyErr {
    match haybarn::take_ctor_error().map(|why| why.0.downcast::<Error>()) {
        Some(Ok(error)) => errors::from_core(py, *error),
        _ => out_of_memory(py, n),
    }
}

/// A writable buffer of exactly n bytes (0 to 4 MiB), of the smallest size class that holds them, or of whole pages above 8 KiB;
/// its bytes are zero if asked, else whatever was there.
///
/// Raises BadArgumentError, or OutOfMemoryError (a MemoryError). Thread-safe. As the kernel's kmalloc().
#[pyfunction]
#[pyo3(signature = (n, /, *, zero=false))]
fn kmalloc<'py>(py: Python<'py>, n: &Bound<'py, PyAny>, zero: bool) -> PyResult<Bound<'py, KmallocObject>> {
    KmallocObject::make(py, bytes(py, n)?, zero)
}

/// Bytes that the allocator has set aside for an object of kmalloc: its length rounded up, or more after a krealloc that
/// shrank it; 0 for an object of 0 bytes.
///
/// Raises UseAfterFreeError. Thread-safe. As the kernel's ksize().
#[pyfunction]
#[pyo3(signature = (obj, /))]
fn ksize(obj: &Bound<'_, KmallocObject>) -> PyResult<usize> {
    let this = obj.get();
    this.usable(obj.py())?;
    Ok(this.room())
}

/// The object with a length of n bytes (0 to 4 MiB) and its contents as far as they fit. It is the same object if so many bytes
/// fit where it is, as they do when it shrinks; else a new one, and the old one counts as freed. None for obj: as kmalloc(n).
///
/// Bytes that come in addition are zero if asked, else whatever was there. Raises BadArgumentError, OutOfMemoryError,
/// ObjectInUseError (a BufferError) while memoryviews of it are live, UseAfterFreeError; the object is then as it was.
/// Thread-safe. As the kernel's krealloc().
#[pyfunction]
#[pyo3(signature = (obj, n, /, *, zero=false))]
fn krealloc<'py>(
    py: Python<'py>,
    obj: Option<Bound<'py, KmallocObject>>,
    n: &Bound<'py, PyAny>,
    zero: bool,
) -> PyResult<Bound<'py, KmallocObject>> {
    let n = bytes(py, n)?;
    let Some(old) = obj else { return KmallocObject::make(py, n, zero) };
    let this = old.get();
    this.state.claim().map_err(|refusal| this.refused(py, refusal, false))?;
    let (len, room) = (this.length(), this.room());
    if n == len || (1..=room).contains(&n) {
        if zero && n > len {
            // SAFETY: the object is claimed, so its `room` bytes are this call's alone.
            unsafe { this.pointer().add(len).write_bytes(0, n - len) };
        }
        this.len.publish(n as u64);
        this.state.unclaim();
        return Ok(old);
    }
    let new = match KmallocObject::make(py, n, zero) {
        Ok(new) => new,
        Err(error) => {
            this.state.unclaim();
            return Err(error);
        }
    };
    // SAFETY: the old object is claimed, the new one nobody else has seen: both have so many bytes, which are apart. Then the old
    // one is this call's to give back, which the state says before anybody can ask again.
    unsafe {
        new.get().pointer().copy_from_nonoverlapping(this.pointer(), len.min(n));
        this.state.free_claimed();
        this.give_back();
    }
    Ok(new)
}

/// Bytes that kmalloc(n) would set aside: ksize() of the object. Above 4 MiB, which kmalloc refuses, n itself.
///
/// Raises BadArgumentError. As the kernel's kmalloc_size_roundup().
#[pyfunction]
#[pyo3(signature = (n, /))]
fn kmalloc_size_roundup(py: Python<'_>, n: &Bound<'_, PyAny>) -> PyResult<usize> {
    Ok(core::kmalloc_size_roundup(Args { py, cache: "" }.bytes(n, usize::MAX)?))
}

fn bytes(py: Python<'_>, n: &Bound<'_, PyAny>) -> PyResult<usize> {
    Args { py, cache: "" }.bytes(n, core::KMALLOC_MAX_SIZE)
}

/// Adds the class and the functions to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    LazyLock::force(&CLASSES);
    LazyLock::force(&SITES);
    module.add_class::<KmallocObject>()?;
    module.add_function(wrap_pyfunction!(kmalloc, module)?)?;
    module.add_function(wrap_pyfunction!(ksize, module)?)?;
    module.add_function(wrap_pyfunction!(krealloc, module)?)?;
    module.add_function(wrap_pyfunction!(kmalloc_size_roundup, module)?)
}
