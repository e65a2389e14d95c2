//! A chunk: 512 pages, a bit for each that is taken and one for each that is dirty, and what the chunk is used for.

#![forbid(unsafe_code)]

use super::field::WORD_PAGES;
use super::ids::{CHUNK_PAGES, NodeId};
use crate::sync::{BitWord, Link, Published};

/// Words of a bitmap.
pub(super) const WORDS: usize = (CHUNK_PAGES / WORD_PAGES) as usize;

/// The record of one chunk. All zeros: never used, nothing taken, nothing dirty.
#[repr(C, align(64))]
pub(super) struct Chunk {
    /// Pages that somebody owns.
    pub taken: [BitWord; WORDS],
    /// Pages that may have been touched since the system last got them back. Who changes a bit owns the page.
    pub dirty: [BitWord; WORDS],
    role: Published,
    /// In its class's stack, while the chunk is the head of a free span.
    pub link: Link,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Chunk>() == 192, "taken, dirty and the rest have a cache line each");

impl Chunk {
    /// What the chunk is used for.
    pub fn role(&self) -> Role {
        Role::from_word(self.role.read())
    }

    /// Changes the role. The caller owns the chunk.
    pub fn set_role(&self, role: Role) {
        self.role.publish(role.to_word());
    }

    /// Changes the role from `old`, unless somebody else did.
    pub fn change_role(&self, old: Role, new: Role) -> bool {
        self.role.publish_if(old.to_word(), new.to_word()).is_ok()
    }

    /// The node of a chunk of runs; `None` for one that has another role.
    #[inline]
    pub fn node(&self) -> Option<NodeId> {
        match self.role() {
            Role::Runs(node) => Some(node),
            Role::Unused | Role::Span { .. } => None,
        }
    }

    /// True if a page is dirty, taken or not.
    pub fn any_dirty(&self) -> bool {
        self.dirty.iter().any(|word| word.peek() != 0)
    }
}

/// What a chunk is used for. Written once for runs: their chunk stays theirs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// Never used, or inside a span (not its head).
    Unused,
    /// Cut into runs, for the node it was first taken for.
    Runs(NodeId),
    /// Head of a span of so many chunks.
    Span { chunks: u32, live: bool, dirty: bool },
}

const RUNS: u64 = 1;
const SPAN: u64 = 2;
const LIVE: u64 = 1 << 2;
const DIRTY: u64 = 1 << 3;

impl Role {
    const fn to_word(self) -> u64 {
        match self {
            Self::Unused => 0,
            Self::Runs(NodeId(node)) => RUNS | (node as u64) << 8,
            Self::Span { chunks, live, dirty } => {
                SPAN | if live { LIVE } else { 0 } | if dirty { DIRTY } else { 0 } | (chunks as u64) << 32
            }
        }
    }

    const fn from_word(word: u64) -> Self {
        match word & 3 {
            RUNS => Self::Runs(NodeId((word >> 8) as u8)),
            SPAN => Self::Span { chunks: (word >> 32) as u32, live: word & LIVE != 0, dirty: word & DIRTY != 0 },
            _ => Self::Unused,
        }
    }
}

#[cfg(test)]
#[path = "chunk_tests.rs"]
mod tests;
