//! A static cache against dynamic ones: 64-byte pairs in a loop, and the instructions of both fast paths.
//!
//! `static` has its address from the linker. `global` is what a program does that makes its cache when it starts: the handle lies
//! in a variable that is written once and read at each call. `dynamic` has the handle in a register, as in a loop over one cache.

#![forbid(unsafe_code)]

use crate::bench::blocks::{Block, Blocks, Kind, Target};
use crate::bench::clock::timed;
use crate::bench::disassembly::{Counts, longest_path};
use crate::bench::row::Work;
use crate::bench::targets::haybarn_dynamic::{Best, Dynamic, One};
use crate::bench::targets::haybarn_static::{Static, probes as static_probes};
use core::ffi::c_void;
use std::hint::black_box;
use std::sync::OnceLock;

/// The row's name.
pub const NAME: &str = "static";
/// One line for the list of rows.
pub const ABOUT: &str = "one 64 B pair in a loop: static cache, handle in a global, handle in a register";

/// A name, its part in the comparison, and how it is set up.
type Own = (&'static str, Kind, fn() -> Result<Work, String>);

/// The row's own targets.
pub const TARGETS: [Own; 3] =
    [("static", Kind::Haybarn, fixed), ("global", Kind::Peer, global), ("dynamic", Kind::Peer, dynamic)];

static GLOBAL: OnceLock<One> = OnceLock::new();

fn pairs<B: Blocks>(take: impl Fn() -> Block<B> + 'static, give: impl Fn(Block<B>) + 'static) -> Work {
    Box::new(move |ops| timed(|| (0..ops).for_each(|_| give(take().opaque()))))
}

fn fixed() -> Result<Work, String> {
    let (taken, given) = (Static::b64()?, Static::b64()?);
    Ok(pairs(move || taken.alloc(), move |block| given.free(block)))
}

fn global() -> Result<Work, String> {
    let made = Dynamic::<Best>::b64()?;
    GLOBAL.get_or_init(|| made);
    let handle = || GLOBAL.get().expect("made above");
    Ok(pairs(move || handle().alloc(), move |block| handle().free(block)))
}

fn dynamic() -> Result<Work, String> {
    let (taken, given) = (Dynamic::<Best>::b64()?, Dynamic::<Best>::b64()?);
    Ok(pairs(move || taken.alloc(), move |block| given.free(block)))
}

/// The fast paths in functions of their own, as the golden test of the core has them; those of the static lie beside it, where
/// they are inlined in any build that is optimised.
mod probes {
    use super::{Block, Blocks, One};

    #[inline(never)]
    pub fn dynamic_alloc(cache: One) -> Option<Block<One>> {
        cache.try_alloc()
    }

    #[inline(never)]
    pub fn dynamic_free(cache: One, block: Block<One>) {
        cache.free(block);
    }
}

/// Instructions of the fast paths by name, from this program's own code.
///
/// # Errors
/// As [`longest_path`].
pub fn instructions() -> Result<Vec<(&'static str, Counts)>, String> {
    let entries = [
        ("static alloc", black_box(static_probes::alloc as fn() -> _) as *const c_void),
        ("static free", black_box(static_probes::free as fn(_)) as *const c_void),
        ("dynamic alloc", black_box(probes::dynamic_alloc as fn(_) -> _) as *const c_void),
        ("dynamic free", black_box(probes::dynamic_free as fn(_, _)) as *const c_void),
    ];
    entries.into_iter().map(|(name, entry)| Ok((name, longest_path(entry)?))).collect()
}
