//! The kernel's list format for CPUs and nodes: `0-3,8,10-11`.

#![forbid(unsafe_code)]

/// The numbers of a list, in the order written. Parts that are no number or range are skipped: a list that cannot be read
/// must not stop a program from allocating.
///
/// Source: `bitmap_print_to_pagebuf()`, lib/bitmap-str.c, format `%*pbl`.
pub(super) fn ids(list: &str) -> impl Iterator<Item = u32> {
    list.trim().split(',').filter_map(range).flatten()
}

fn range(part: &str) -> Option<core::ops::RangeInclusive<u32>> {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
}

#[cfg(test)]
#[path = "cpulist_tests.rs"]
mod tests;
