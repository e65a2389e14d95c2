//! What must hold of a cache when everything has been given back: the checks at the end of its life.

#![forbid(unsafe_code)]

use super::subject::Identity;
use super::{Census, Counters, Kind, Ledger, Violation, Watched};

/// Checks a cache that nobody uses any more and ends it. Gives its counters as they were before this function touched it.
///
/// Once a violation has been seen the cache is left as it is, since a corrupted allocator may crash in its own clean-up.
pub fn close(watched: Watched, scenario: &'static str, ledger: &Ledger) -> Counters {
    let before = watched.subject.census();
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
    slabs_are_gone(&watched.subject.census(), &report);
    if let Err((_, why)) = watched.destroy() {
        report(Kind::Lifetime, "an empty cache to be destroyed".into(), why);
    }
    before.counters
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
        let seen = format!("{}: an object of each was lost", census.slabs);
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
