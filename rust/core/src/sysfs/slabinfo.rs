#![forbid(unsafe_code)]
//! The table of `/proc/slabinfo`, version 2.1.

use crate::cache::{Arena, CacheName};
use core::fmt::Write;

const HEADER: &str = "slabinfo - version: 2.1\n\
    # name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> \
    : tunables <limit> <batchcount> <sharedfactor> \
    : slabdata <active_slabs> <num_slabs> <sharedavail>\n";

/// Every cache of the arena, one line each, oldest first. Names that share another's storage have no line, as in Linux: what
/// they hold is in that line. An object in a sheaf counts as active, one that is prefilled too.
#[must_use]
pub fn slabinfo(arena: &'static Arena) -> String {
    let mut text = String::from(HEADER);
    for name in arena.names().iter().filter(|name| name.is_primary()) {
        // A string takes all that is written to it.
        let _ = line(&mut text, name);
    }
    text
}

/// One line, with the kernel's widths.
fn line(text: &mut String, name: &CacheName) -> core::fmt::Result {
    let Some(pinned) = name.pin() else { return Ok(()) };
    let (info, stats) = (pinned.info(), pinned.stats());
    write!(text, "{:<17} ", name.name())?;
    let active = stats.objects + stats.in_sheaves + stats.in_prefilled;
    write!(text, "{active:>6} {:>6} {:>6} ", stats.total_objects, info.slab_size)?;
    write!(text, "{:>4} {:>4} : tunables {:>4} {:>4} {:>4} ", info.objs_per_slab, 1u64 << info.order, 0, 0, 0)?;
    writeln!(text, ": slabdata {:>6} {:>6} {:>6}", stats.slabs, stats.slabs, 0)
}
