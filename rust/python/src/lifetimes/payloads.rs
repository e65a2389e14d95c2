//! The payloads of one cache: a Python dict by number, so that the interpreter guards it, collects it and keeps it whole over
//! `fork`. The word behind an object holds the number of its payload; 0 is `None`, which needs no entry. A number is never used
//! twice, so a stale one finds nothing rather than somebody else's payload.

use std::ptr::NonNull;

use haybarn::sync::Published;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::table::Table;

pub(crate) struct Payloads {
    by_number: Table,
    last: Published,
    /// Bytes from an object to its word.
    word_at: usize,
}

impl Payloads {
    /// For objects of `object_size` bytes, whose private bytes follow at the next multiple of 8.
    pub(crate) fn new(py: Python<'_>, object_size: usize) -> Self {
        let word_at = object_size.next_multiple_of(align_of::<Published>());
        Self { by_number: Table::new(py), last: Published::new(0), word_at }
    }

    /// In the child of a fork.
    ///
    /// # Safety
    /// No other thread is there, and this one is in no call of this type.
    pub(crate) unsafe fn reset_after_fork(&self, py: Python<'_>) {
        // SAFETY: the caller's promise.
        unsafe { self.by_number.renew(py) };
    }

    /// # Safety
    /// `object` is or was an object of the cache: its memory is mapped for as long as the process lives.
    unsafe fn word(&self, object: NonNull<u8>) -> &Published {
        // SAFETY: the private bytes of an object are eight-byte aligned and used by this module alone, as atomics.
        unsafe { object.byte_add(self.word_at).cast::<Published>().as_ref() }
    }

    /// Starts a slot without a payload.
    ///
    /// # Safety
    /// The caller constructs `object`.
    pub(crate) unsafe fn clear(&self, object: NonNull<u8>) {
        // SAFETY: the caller's promise.
        unsafe { self.word(object) }.publish(0);
    }

    /// Attaches a payload to a slot that has none.
    ///
    /// # Safety
    /// The caller constructs `object`.
    pub(crate) unsafe fn put(&self, object: NonNull<u8>, payload: &Bound<'_, PyAny>) -> PyResult<()> {
        if payload.is_none() {
            return Ok(());
        }
        let number = self.last.take(1) + 1;
        self.by_number.dict().bind(payload.py()).set_item(number, payload)?;
        // SAFETY: the caller's promise.
        unsafe { self.word(object) }.publish(number);
        Ok(())
    }

    /// The payload of a slot.
    ///
    /// # Safety
    /// As [`Payloads::word`].
    pub(crate) unsafe fn get<'py>(&self, py: Python<'py>, object: NonNull<u8>) -> PyResult<Option<Bound<'py, PyAny>>> {
        // SAFETY: the caller's promise.
        match unsafe { self.word(object) }.read() {
            0 => Ok(None),
            number => self.by_number.dict().bind(py).get_item(number),
        }
    }

    /// Takes the payload off a slot.
    ///
    /// # Safety
    /// The caller destructs `object`.
    pub(crate) unsafe fn take<'py>(&self, py: Python<'py>, object: NonNull<u8>) -> PyResult<Option<Bound<'py, PyAny>>> {
        // SAFETY: the caller's promise.
        let number = unsafe { self.word(object) }.read();
        if number == 0 {
            return Ok(None);
        }
        // SAFETY: as above.
        unsafe { self.clear(object) };
        let by_number = self.by_number.dict().bind(py);
        let payload = by_number.get_item(number)?;
        // The collector shows the dict to whoever asks, and it may have been emptied.
        if payload.is_some() {
            by_number.del_item(number)?;
        }
        Ok(payload)
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(self.by_number.dict())
    }
}
