#![forbid(unsafe_code)]
//! What a path leads to. As on a file system: several slashes are one, `.` and `..` mean what they mean there, and a slash at
//! the end asks for a folder.

use super::error::{Errno, SysfsError};
use super::table::{self, PRIMARY, Row};
use crate::cache::{Arena, CacheName};

/// What is at the end of a path.
#[derive(Clone)]
pub(super) enum Node {
    /// `/`.
    Root,
    /// A cache's folder.
    Folder(CacheName),
    /// Its link `primary`.
    Primary(CacheName),
    /// One of its attributes.
    File(CacheName, Row),
}

/// What a path leads to, a link at its end included.
pub(super) fn resolve(arena: &'static Arena, path: &str) -> Result<Node, SysfsError> {
    let fail = |errno, why: String| Err(SysfsError::new(errno, path, why));
    if !path.starts_with('/') {
        return fail(Errno::Invalid, "a path begins with '/'".to_owned());
    }
    let mut node = Node::Root;
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if let Node::Primary(name) = node {
            node = Node::Folder(primary(arena, &name, path)?);
        }
        node = match (node, part) {
            (Node::File(..), _) => return fail(Errno::NotDir, String::new()),
            (node, ".") => node,
            (_, "..") => Node::Root,
            (Node::Root, name) => Node::Folder(find(arena, name, path)?),
            (Node::Folder(name), PRIMARY) => Node::Primary(name),
            (Node::Folder(name), attribute) => match table::find(attribute) {
                Some(row) => Node::File(name, row),
                None => return fail(Errno::NoEntry, format!("caches have no attribute '{attribute}'")),
            },
            (Node::Primary(_), _) => unreachable!("followed above"),
        };
    }
    if path.ends_with('/') {
        node = match node {
            Node::File(..) => return fail(Errno::NotDir, String::new()),
            Node::Primary(name) => Node::Folder(primary(arena, &name, path)?),
            folder => folder,
        };
    }
    Ok(node)
}

/// As [`resolve`], and a link at the end is followed.
pub(super) fn follow(arena: &'static Arena, path: &str) -> Result<Node, SysfsError> {
    match resolve(arena, path)? {
        Node::Primary(name) => Ok(Node::Folder(primary(arena, &name, path)?)),
        node => Ok(node),
    }
}

/// The name that the storage of `name` is known by.
pub(super) fn primary(arena: &'static Arena, name: &CacheName, path: &str) -> Result<CacheName, SysfsError> {
    let known_by = name.primary().ok_or_else(|| SysfsError::no_cache(path, name.name()))?;
    find(arena, &known_by, path)
}

fn find(arena: &'static Arena, name: &str, path: &str) -> Result<CacheName, SysfsError> {
    arena.find_name(name).ok_or_else(|| SysfsError::no_cache(path, name))
}
