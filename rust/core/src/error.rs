//! Every error, each naming the argument, the cache and the legal range.
#![forbid(unsafe_code)]

use thiserror::Error;

/// An object that is handed out and not freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveObject {
    /// Its address.
    pub address: usize,
    /// Its index in its slab.
    pub index: u32,
}

/// What can go wrong. A failed operation leaves everything as it was.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument out of its legal range.
    #[error("{}{argument} = {value} is not legal: {legal}", of(cache))]
    BadArgument {
        /// The cache's name; empty where there is none.
        cache: String,
        /// The argument's name.
        argument: &'static str,
        /// The value given.
        value: String,
        /// What would have been legal.
        legal: String,
    },
    /// Memory is out.
    #[error("{}out of memory for {what}", of(cache))]
    OutOfMemory {
        /// The cache's name; empty where there is none.
        cache: String,
        /// What the memory was for.
        what: &'static str,
    },
    /// A cache that still has objects cannot be destroyed.
    #[error(
        "cache '{cache}' still has {}: {}, then destroy",
        still(*live, *prefilled, sample),
        remedy(*live, *prefilled)
    )]
    CacheBusy {
        /// The cache's name.
        cache: String,
        /// How many objects are live: handed out and not freed.
        live: u64,
        /// How many prefilled sheaves are out; what is in them is not live.
        prefilled: u64,
        /// The first of them, at most 64; none where others share the cache's slabs, in which nobody can tell them apart.
        sample: Vec<LiveObject>,
    },
    /// A prefilled sheaf has no object left.
    #[error("cache '{cache}': the prefilled sheaf is empty: refill it, or ask for more objects beforehand")]
    SheafEmpty {
        /// The cache's name.
        cache: String,
    },
    /// The object belongs to another cache.
    #[error("cache '{cache}' does not own the object at {address:#x}: it belongs to cache '{owner}'")]
    WrongCache {
        /// The cache that was asked.
        cache: String,
        /// The object's address.
        address: usize,
        /// The cache that it belongs to.
        owner: String,
    },
    /// No object starts at this address.
    #[error("{}no object at {address:#x}: {why}", of(cache))]
    BadPointer {
        /// The cache that was asked.
        cache: String,
        /// The address.
        address: usize,
        /// Foreign, interior or misaligned.
        why: &'static str,
    },
    /// Memory of the cache was overwritten.
    #[error("cache '{cache}' is corrupt: {}", reports.join("; "))]
    Corruption {
        /// The cache's name.
        cache: String,
        /// One text per finding.
        reports: Vec<String>,
    },
    /// Something was forced that this machine does not have.
    #[error("{what} is not to be had here: {why}")]
    Unavailable {
        /// What was asked for.
        what: String,
        /// Why it is not there.
        why: String,
    },
    /// Waiting for readers in a read section of the same thread, which would never end.
    #[error("{what} inside an RCU read section of this thread would wait for itself: end the section first")]
    InReadSection {
        /// The operation.
        what: &'static str,
    },
    /// Waiting for RCU callbacks inside one, which would never end.
    #[error("{what} inside an RCU callback would wait for itself: call it from elsewhere")]
    InCallback {
        /// The operation.
        what: &'static str,
    },
    /// A name was destroyed before, or is being destroyed by another thread.
    #[error("{}destroyed already", of(cache))]
    Destroyed {
        /// The cache's name; empty where it is not known.
        cache: String,
    },
    /// A cache was to be set up in storage that holds one: the static cache was set up or used before.
    #[error("cache '{cache}' is set up already")]
    AlreadySetUp {
        /// Name of the cache that is there.
        cache: String,
    },
    /// A cache was to be used or ended that has not been set up.
    #[error("{}not set up: call setup() first", of(cache))]
    NotSetUp {
        /// The cache's name; empty for a storage.
        cache: String,
    },
    /// A storage cannot be set up yet: its last cache is gone, but somebody holds its name or reads its attributes.
    #[error("{}its storage is in use: attributes of the cache that was in it are still being read", of(cache))]
    StorageInUse {
        /// Name of the cache that was to be set up.
        cache: String,
    },
    /// The constructor of an object failed; the allocation that needed the object ended with it.
    #[error("cache '{cache}': its constructor failed: {message}")]
    Ctor {
        /// The cache's name.
        cache: String,
        /// What the constructor said.
        message: String,
    },
    /// A constructor or destructor asked for something that would lead back into it.
    #[error("cache '{inner}': {what} of cache '{outer}' is refused: it could lead back into the callback")]
    Reentry {
        /// The cache whose constructor or destructor was running.
        outer: String,
        /// The cache that was asked; may be the same.
        inner: String,
        /// What was asked, and inside which callback.
        what: &'static str,
    },
}

impl Error {
    /// The same error, told of another name of the cache.
    #[must_use]
    pub fn of_cache(mut self, name: &str) -> Self {
        match &mut self {
            Self::BadArgument { cache, .. }
            | Self::OutOfMemory { cache, .. }
            | Self::CacheBusy { cache, .. }
            | Self::SheafEmpty { cache }
            | Self::WrongCache { cache, .. }
            | Self::BadPointer { cache, .. }
            | Self::Corruption { cache, .. }
            | Self::Destroyed { cache }
            | Self::AlreadySetUp { cache }
            | Self::NotSetUp { cache }
            | Self::StorageInUse { cache }
            | Self::Ctor { cache, .. } => name.clone_into(cache),
            Self::Reentry { inner, .. } => name.clone_into(inner),
            Self::Unavailable { .. } | Self::InReadSection { .. } | Self::InCallback { .. } => (),
        }
        self
    }
}

fn of(cache: &str) -> String {
    if cache.is_empty() { String::new() } else { format!("cache '{cache}': ") }
}

fn still(live: u64, prefilled: u64, sample: &[LiveObject]) -> String {
    let objects = match sample {
        [] => format!("{live} live object(s)"),
        _ => format!("{live} live object(s): {}", named(sample, live)),
    };
    let sheaves = format!("{prefilled} prefilled sheaf/sheaves out");
    match (live, prefilled) {
        (_, 0) => objects,
        (0, _) => sheaves,
        _ => format!("{objects}, and {sheaves}"),
    }
}

/// The first few of `live` objects.
pub(crate) fn named(sample: &[LiveObject], live: u64) -> String {
    let few: Vec<_> =
        sample.iter().take(FEW).map(|object| format!("{:#x} (index {})", object.address, object.index)).collect();
    let more = if live > few.len() as u64 { ", ..." } else { "" };
    few.join(", ") + more
}

/// Objects that a message names.
const FEW: usize = 4;

fn remedy(live: u64, prefilled: u64) -> &'static str {
    match (live, prefilled) {
        (_, 0) => "free them",
        (0, _) => "give them back",
        _ => "free and give back",
    }
}
