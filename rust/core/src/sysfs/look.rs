#![forbid(unsafe_code)]
//! One look at a cache: what several attributes are made of is read once, so that what one look shows belongs together.

use crate::cache::{Cache, CacheName, CacheStats, Pinned, RawCache, Survey, survey};
use crate::stats::Stat;
use core::cell::OnceCell;

use super::value::Value;

/// Calls that somebody else than the core counts, all CPUs together: a binding, whose calls hit in sheaves without the core's
/// counting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// Objects allocated.
    pub allocs: u64,
    /// Objects freed.
    pub frees: u64,
}

/// What a binding has counted for a name.
pub(super) type Counts<'c> = &'c dyn Fn(&str) -> Option<Outside>;

/// Nobody else counts.
pub(super) fn nobody(_: &str) -> Option<Outside> {
    None
}

/// While it lives the storage does not end: its destroyer waits. So it is held for one look or one short operation.
pub(super) struct Look<'c> {
    pub name: CacheName,
    pinned: Pinned,
    counts: Counts<'c>,
    stats: OnceCell<CacheStats>,
    survey: OnceCell<Vec<Survey>>,
}

impl<'c> Look<'c> {
    /// `None` for a name that is destroyed, or just being.
    pub fn at(name: CacheName, counts: Counts<'c>) -> Option<Self> {
        let pinned = name.pin()?;
        Some(Self { name, pinned, counts, stats: OnceCell::new(), survey: OnceCell::new() })
    }

    pub fn raw(&self) -> RawCache {
        *self.pinned
    }

    pub fn cache(&self) -> &Cache {
        self.pinned.header()
    }

    pub fn stats(&self) -> &CacheStats {
        self.stats.get_or_init(|| self.pinned.stats())
    }

    pub fn survey(&self) -> &[Survey] {
        self.survey.get_or_init(|| survey(&[self.cache()]).pop().unwrap_or_default())
    }

    /// Looks into the slabs of several caches of one arena by one walk.
    pub fn survey_all(looks: &[Self]) {
        let caches: Vec<&Cache> = looks.iter().map(Look::cache).collect();
        for (look, found) in looks.iter().zip(survey(&caches)) {
            look.survey.get_or_init(|| found);
        }
    }

    /// What the binding's calls make of a counter, if it counts.
    fn outside(&self, stat: Stat) -> Option<u64> {
        // The other counters are the core's alone, and names are not looked up for each of them.
        if !matches!(stat, Stat::AllocFastpath | Stat::FreeFastpath) {
            return None;
        }
        // Slot counters are the storage's: so are the calls by all of its names, and by those that have ended.
        let aliases = self.name.aliases();
        let names = core::iter::once(self.name.name()).chain(aliases.iter().map(String::as_str));
        let calls = names.filter_map(self.counts).map(|Outside { allocs, frees }| (allocs, frees));
        let (allocs, frees) = calls.reduce(|one, other| (one.0 + other.0, one.1 + other.1))?;
        let (before, back) = self.cache().departed.get();
        self.stats().hits(stat, (allocs + before, frees + back))
    }

    /// A counter, from where it was cleared.
    pub fn counter(&self, stat: Stat) -> Value {
        let (cache, stats) = (self.cache(), self.stats());
        if let Some(count) = self.outside(stat) {
            let total = count.saturating_sub(cache.cleared.outside(stat));
            return Value::Cpus { total, cpus: Vec::new() };
        }
        let share = |cpu| stats.per_cpu(cpu, stat).saturating_sub(cache.cleared.cpu(cpu, stat));
        let cpus: Vec<u64> = (0..stats.cpus()).map(share).collect();
        Value::Cpus { total: cpus.iter().sum(), cpus }
    }

    /// Makes a counter show 0.
    pub fn clear(&self, stat: Stat) {
        let (cache, stats) = (self.cache(), self.stats());
        let cpus = (0..stats.cpus()).map(|cpu| stats.per_cpu(cpu, stat));
        cache.cleared.clear(cache.arena, stat, cpus, self.outside(stat).unwrap_or(0));
    }
}
