//! Stress: scenarios that drive an allocator from many threads while the oracle watches.
//!
//! A [`Field`] makes caches and says which CPU a thread is on; a [`Scenario`] is one row of [`SCENARIOS`] and prepares [`Work`]; a
//! [`Run`] binds both to a number of threads and an end. The caller brings the threads (Python's, or plain ones): each calls
//! [`Run::thread`], then one of them [`Run::finish`].

mod aside;
mod block;
mod bulk;
mod burst;
mod churn;
mod constructed;
mod create_destroy;
mod ctor;
mod deferred;
mod field;
mod fork;
mod guest;
mod haybarn_counters;
mod haybarn_field;
mod haybarn_heap;
mod haybarn_site;
mod heap;
mod held;
mod injector;
mod interrupt;
mod kmalloc;
mod live;
mod merge;
mod needs;
mod no_cache;
mod nodes;
mod nolock;
mod pace;
mod platform;
mod prealloc;
mod prefill;
mod rcu;
mod remote;
mod report;
mod resize;
mod rng;
mod run;
mod scenario;
mod shrink_under_load;
mod site;
mod table;
mod typesafe;
mod worker;

pub use field::{CacheSpec, Field};
pub use haybarn_field::{FieldError, HaybarnField};
pub use heap::{Heap, Source, Way};
pub use held::Held;
pub use needs::Needs;
pub use no_cache::NoCache;
pub use report::Report;
pub use rng::Rng;
pub use run::{Limits, Run};
pub use scenario::{Scenario, Setup, Work};
pub use site::{Owner, Setting, Site};
pub use typesafe::WITHOUT_RECHECK as TYPESAFE_WITHOUT_RECHECK;
pub use worker::Worker;

/// Every scenario, in the order in which a campaign runs them.
pub const SCENARIOS: &[Scenario] = &[
    churn::SCENARIO,
    remote::SCENARIO,
    burst::SCENARIO,
    bulk::SCENARIO,
    shrink_under_load::SCENARIO,
    create_destroy::SCENARIO,
    typesafe::SCENARIO,
    ctor::SCENARIO,
    rcu::SCENARIO,
    fork::SCENARIO,
    prefill::SCENARIO,
    prealloc::SCENARIO,
    nodes::SCENARIO,
    merge::SCENARIO,
    kmalloc::SCENARIO,
    nolock::SCENARIO,
];

/// The scenario of that name.
#[must_use]
pub fn scenario(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}
