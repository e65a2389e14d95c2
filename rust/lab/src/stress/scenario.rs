//! What a scenario is: a row with a name, what it needs, and how its work is prepared.
#![forbid(unsafe_code)]

use super::field::{CacheSpec, Field};
use super::needs::Needs;
use super::worker::Worker;
use crate::oracle::{Counters, Watched};

/// One scenario.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// The name on the command line and in JSON.
    pub name: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// The counters that it must move.
    pub needs: Needs,
    /// Makes its caches.
    pub prepare: fn(&Setup<'_>) -> Result<Box<dyn Work>, String>,
}

/// What a scenario is prepared with.
pub struct Setup<'a> {
    /// Where caches come from.
    pub field: &'a dyn Field,
    /// How many threads will work.
    pub threads: u32,
    /// The run's seed.
    pub seed: u64,
}

impl Setup<'_> {
    /// New caches, watched from their beginning.
    ///
    /// # Errors
    /// Why the allocator would not make one.
    pub fn caches(&self, label: &str, specs: &[CacheSpec]) -> Result<Vec<Watched>, String> {
        let watch = |spec: &CacheSpec| {
            let made = self.field.cache(label, *spec).map_err(|why| why.to_string())?;
            Ok(Watched::new(made, spec.watched_bytes()))
        };
        specs.iter().map(watch).collect()
    }
}

/// A prepared scenario.
pub trait Work: Send + Sync {
    /// One thread's part, until [`Worker::go_on`] says no. Frees what the thread holds.
    fn work(&self, worker: &mut Worker<'_>);

    /// After all threads have ended: frees what is left between them.
    fn settle(&self, _worker: &mut Worker<'_>) {}

    /// The caches that live until the end of the run, to be checked and ended.
    fn into_caches(self: Box<Self>) -> Vec<Watched>;

    /// The counters of caches that the work has ended itself.
    fn ended(&self) -> Counters {
        Counters::default()
    }
}
