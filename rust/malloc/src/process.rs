//! The arena of the process, at no cost once it is there.

use crate::failure::Failure;
use core::ptr::null_mut;
use haybarn_core::Arena;
use haybarn_core::sync::{Published, PublishedPtr};

static ARENA: PublishedPtr<Arena> = PublishedPtr::new(null_mut());

/// The range that all memory of the library lies in: nothing before the arena is there. Beside each other, in one cache line.
#[repr(C, align(64))]
struct Range {
    first: Published,
    bytes: Published,
}

static RANGE: Range = Range { first: Published::new(0), bytes: Published::new(0) };

/// The arena, if anything has needed it yet.
#[inline(always)]
pub fn known() -> Option<&'static Arena> {
    // SAFETY: null, or the process's arena, which is never freed.
    unsafe { ARENA.read().as_ref() }
}

/// The arena, made at first use.
pub fn arena() -> Result<&'static Arena, Failure> {
    match known() {
        Some(arena) => Ok(arena),
        None => start(),
    }
}

#[cold]
fn start() -> Result<&'static Arena, Failure> {
    let arena = Arena::global()?;
    let (first, bytes) = arena.range();
    // Whoever comes later writes the same; who reads one of the two finds no address inside.
    RANGE.first.publish(first as u64);
    RANGE.bytes.publish(bytes as u64);
    ARENA.publish(core::ptr::from_ref(arena).cast_mut());
    Ok(arena)
}

/// Whether an address lies where the library's memory is: the one compare by which it knows foreign pointers, NULL among them.
#[inline(always)]
pub fn holds(address: *const u8) -> bool {
    (address.addr() as u64).wrapping_sub(RANGE.first.read()) < RANGE.bytes.read()
}
