#![forbid(unsafe_code)]
//! An attribute that is open: it can be read again and again, and knows when its cache has gone.

use super::error::{Errno, SysfsError};
use super::look::{Counts, Look, nobody};
use super::path::{Node, follow};
use super::table::Row;
use super::value::Value;
use crate::cache::{Arena, CacheName};

/// An attribute of one cache. After the cache's end it is there no more, also when another cache has taken the name. What the
/// cache's `owner` is lives on until it is dropped.
#[derive(Clone)]
pub struct Attribute {
    name: CacheName,
    row: Row,
    path: String,
}

/// Opens an attribute.
///
/// # Errors
/// `IsDir` for a folder, `NoEntry` for what is not there.
pub fn open(arena: &'static Arena, path: &str) -> Result<Attribute, SysfsError> {
    match follow(arena, path)? {
        Node::File(name, row) => Ok(Attribute { name, row, path: path.to_owned() }),
        _ => Err(SysfsError::new(Errno::IsDir, path, "")),
    }
}

impl Attribute {
    /// The cache's name.
    #[must_use]
    pub fn cache(&self) -> &str {
        self.name.name()
    }

    /// Its own name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.row.name()
    }

    /// The path that it was opened by.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether there is anything to write to it.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.row.is_writable()
    }

    fn look<'c>(&self, counts: Counts<'c>) -> Result<Look<'c>, SysfsError> {
        Look::at(self.name.clone(), counts).ok_or_else(|| gone(&self.name, &self.path, Errno::NoDevice))
    }

    /// The value now; its `Display` is what the file holds.
    ///
    /// # Errors
    /// `NoDevice` after the cache's end, `Busy` while it is being destroyed.
    pub fn value(&self) -> Result<Value, SysfsError> {
        self.value_with(&nobody)
    }

    /// As [`Attribute::value`], with what a binding has counted by name.
    ///
    /// # Errors
    /// As [`Attribute::value`].
    pub fn value_with(&self, counts: Counts<'_>) -> Result<Value, SysfsError> {
        Ok(self.row.show(&self.look(counts)?))
    }

    /// Writes to it; an empty text does nothing, as writing nothing to a file does.
    ///
    /// # Errors
    /// As [`super::write`], and those of [`Attribute::value`].
    pub fn write(&self, text: &str) -> Result<(), SysfsError> {
        self.write_with(text, &nobody)
    }

    /// As [`Attribute::write`], with what a binding has counted by name.
    ///
    /// # Errors
    /// As [`Attribute::write`].
    pub fn write_with(&self, text: &str, counts: Counts<'_>) -> Result<(), SysfsError> {
        if text.is_empty() && self.row.is_writable() {
            return Ok(());
        }
        let stored = self.row.store(&self.look(counts)?, text);
        stored.map_err(|refused| {
            let why = format!("cache '{}': {}: {}", self.cache(), self.row.name(), refused.why);
            SysfsError::new(refused.errno, &self.path, why)
        })
    }
}

/// The error for a name that cannot be looked at.
pub(super) fn gone(name: &CacheName, path: &str, errno: Errno) -> SysfsError {
    match name.is_living() {
        true => SysfsError::new(Errno::Busy, path, format!("cache '{}' is just being destroyed", name.name())),
        false => SysfsError::new(errno, path, format!("cache '{}' is destroyed", name.name())),
    }
}

impl core::fmt::Debug for Attribute {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Attribute").field("path", &self.path).finish_non_exhaustive()
    }
}
