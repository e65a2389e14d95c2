//! What must hold of a cache when everything has been given back: the checks at the end of its life.

#![forbid(unsafe_code)]

use super::subject::Identity;
use super::{Census, Counters, Kind, Ledger, Violation, Watched};
use std::time::Duration;

/// Checks a cache that nobody uses any more and ends it. Gives its counters as they were before this function touched it.
///
/// Once a violation has been seen the cache is left as it is, since a corrupted allocator may crash in its own clean-up.
pub fn close(watched: Watched, scenario: &'static str, ledger: &Ledger) -> Counters {
    if ledger.count() > 0 {
        // Objects were left behind everywhere: it would not come to rest.
        return watched.subject.census().counters;
    }
    let before = quiet_census(&watched);
    if ledger.count() > 0 {
        return before.counters;
    }
    let name = watched.subject.name().to_owned();
    let report = |kind, expected: String, seen: String| {
        ledger.report(Violation { kind, scenario, thread: None, cache: name.clone(), address: 0, expected, seen });
    };
    everything_came_back(&watched, &before, &report);
    if let Err(why) = watched.subject.validate() {
        report(Kind::Invalid, "valid structures".into(), why);
    }
    if ledger.count() > 0 {
        return before.counters;
    }
    watched.subject.shrink();
    slabs_are_gone(&shrunk_census(&watched), &report);
    if let Err((_, why)) = watched.destroy() {
        report(Kind::Lifetime, "an empty cache to be destroyed".into(), why);
    }
    before.counters
}

/// How often a census that does not add up is taken again.
const LOOKS: u32 = 200;

/// A census at a moment when nothing of the cache is in a thread's hands. Nobody uses the cache, but other threads may still
/// park its slots for an injected fault, or see to its dead slabs: then sums are off until they are done. What stays wrong for
/// a fifth of a second is wrong.
fn quiet_census(watched: &Watched) -> Census {
    let mut census = watched.subject.census();
    for _ in 0..LOOKS {
        if census.objects == 0 && census.identities.iter().all(|identity| identity.there == identity.counted) {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
        census = watched.subject.census();
    }
    census
}

/// The same after a shrink, which another thread's parking may have kept from seeing every object: it shrinks again.
fn shrunk_census(watched: &Watched) -> Census {
    let mut census = quiet_census(watched);
    for _ in 0..LOOKS {
        if census.slabs == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
        watched.subject.shrink();
        census = quiet_census(watched);
    }
    census
}

fn everything_came_back(watched: &Watched, census: &Census, report: &dyn Fn(Kind, String, String)) {
    let (born, died) = watched.tally();
    if born != died {
        report(Kind::Conservation, format!("{born} objects to come back"), format!("{died}"));
    }
    if census.objects != 0 {
        let seen = format!("the allocator still counts {} of {born}", census.objects);
        report(Kind::Conservation, "no live object after all were given back".into(), seen);
    }
    if let Some((allocs, frees)) = census.hits
        && (allocs, frees) != (born, died)
    {
        let expected = format!("{born} allocations and {died} frees in the allocator's counters");
        report(Kind::Conservation, expected, format!("{allocs} and {frees}"));
    }
    sums_are_equal(census, report);
}

fn slabs_are_gone(census: &Census, report: &dyn Fn(Kind, String, String)) {
    if census.slabs != 0 {
        let sums: Vec<_> = census.identities.iter().map(|sum| format!("{} {}", sum.what, sum.there)).collect();
        let seen = format!("{}: an object of each was lost ({})", census.slabs, sums.join(", "));
        report(Kind::Conservation, "no slab after everything was given back and shrunk".into(), seen);
    }
    sums_are_equal(census, report);
}

fn sums_are_equal(census: &Census, report: &dyn Fn(Kind, String, String)) {
    for Identity { what, there, counted } in &census.identities {
        if there != counted {
            report(Kind::Conservation, format!("{what}: {there}"), format!("{counted} by the counters"));
        }
    }
}
