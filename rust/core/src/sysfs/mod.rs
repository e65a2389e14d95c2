#![forbid(unsafe_code)]
//! Caches as a tree of attributes, under the names and in the formats of Linux's `/sys/kernel/slab`, and as a table in that of
//! `/proc/slabinfo`.
//!
//! ```text
//! /                       a folder for each name of a living cache
//! /frame                  its attributes, each a file of one line
//! /frame/order            "3\n"
//! /frame/primary          a link: the folder of the name that the storage is known by
//! ```
//!
//! | file | idea |
//! |---|---|
//! | `error` | what goes wrong, with the number that Linux gives |
//! | `path` | what a path leads to |
//! | `value` | a value, as text and as numbers |
//! | `look` | one look at a cache, in which all values belong together |
//! | `table` | the attributes, one row each |
//! | `store` | what is written to them |
//! | `attribute` | an attribute that is open |
//! | `slabinfo` | the table of caches |
//! | `poll` | the statistics of all caches at once |
//!
//! Every function may be called from any thread, at any time but inside a constructor or destructor. None keeps an allocation
//! or a free from going on; a cache's end waits for a look at it that has begun.
//!
//! Source: mm/slub.c (`slab_attrs`, `slab_stat_attrs`), mm/slab_common.c (`slab_show`), fs/kernfs for the errors.

mod attribute;
mod error;
mod look;
mod path;
mod poll;
mod slabinfo;
mod store;
mod table;
mod value;

pub use attribute::{Attribute, open};
pub use error::{Errno, SysfsError};
pub use look::Outside;
pub use poll::stats;
pub use slabinfo::slabinfo;
pub use value::Value;

use crate::cache::Arena;
use look::Look;
use path::{Node, follow, resolve};

/// The names in a folder: of `/` the caches', oldest first; of a cache's folder its attributes' and `primary`, sorted.
///
/// # Errors
/// `NotDir` for a file, `NoEntry` for what is not there.
pub fn listdir(arena: &'static Arena, path: &str) -> Result<Vec<String>, SysfsError> {
    match follow(arena, path)? {
        Node::Root => Ok(arena.cache_names()),
        Node::Folder(_) => Ok(table::names().map(str::to_owned).collect()),
        _ => Err(SysfsError::new(Errno::NotDir, path, "")),
    }
}

/// What a file holds: one line, or nothing.
///
/// # Errors
/// `IsDir` for a folder, `NoEntry` for what is not there.
pub fn read(arena: &'static Arena, path: &str) -> Result<String, SysfsError> {
    Ok(open(arena, path)?.value()?.to_string())
}

/// Writes to an attribute.
///
/// # Errors
/// `Access` for one that cannot be written, `IsDir` for a folder, `NoEntry` for what is not there; `Invalid` and `Range` for a
/// text that is not legal: the error says what would be. `Io` with the findings when `validate` finds damage.
pub fn write(arena: &'static Arena, path: &str, text: &str) -> Result<(), SysfsError> {
    open(arena, path)?.write(text)
}

/// Where a link leads, relative to its folder.
///
/// # Errors
/// `Invalid` for what is no link, `NoEntry` for what is not there.
pub fn readlink(arena: &'static Arena, path: &str) -> Result<String, SysfsError> {
    match resolve(arena, path)? {
        Node::Primary(name) => Ok(format!("../{}", path::primary(arena, &name, path)?.name())),
        _ => Err(SysfsError::new(Errno::Invalid, path, "only 'primary' is a link")),
    }
}

/// A folder's attributes with their values, sorted by name.
pub type Values = Vec<(&'static str, Value)>;

/// Whether a path leads to the folder of all caches.
#[must_use]
pub fn is_root(arena: &'static Arena, path: &str) -> bool {
    matches!(resolve(arena, path), Ok(Node::Root))
}

/// Caches that are looked at by one walk over the page map. Their ends wait meanwhile, so they are not all.
const AT_ONCE: usize = 64;

/// The attributes of every living name, oldest first, each of one look. Caches that come or go meanwhile are there or not.
/// `outside`: what a binding has counted by name.
pub fn all_values(arena: &'static Arena, outside: &dyn Fn(&str) -> Option<Outside>) -> Vec<(String, Values)> {
    let mut found = Vec::new();
    for names in arena.names().chunks(AT_ONCE) {
        let looks: Vec<_> = names.iter().filter_map(|name| Look::at(name.clone(), outside)).collect();
        Look::survey_all(&looks);
        found.extend(looks.iter().map(|look| (look.name.name().to_owned(), values_of(look))));
    }
    found
}

/// Every attribute of a cache's folder with its value, all of one look. `outside`: what a binding has counted by name.
///
/// # Errors
/// `NotDir` for what is no cache's folder, `NoEntry` for what is not there, `Busy` for what is just being destroyed.
pub fn values(
    arena: &'static Arena,
    path: &str,
    outside: &dyn Fn(&str) -> Option<Outside>,
) -> Result<Values, SysfsError> {
    match follow(arena, path)? {
        Node::Folder(name) => {
            let look = Look::at(name.clone(), outside).ok_or_else(|| attribute::gone(&name, path, Errno::NoEntry))?;
            Ok(values_of(&look))
        }
        _ => Err(SysfsError::new(Errno::NotDir, path, "a cache's folder is wanted")),
    }
}

fn values_of(look: &Look<'_>) -> Values {
    table::rows().map(|row| (row.name(), row.show(look))).collect()
}
