#![forbid(unsafe_code)]
//! Parked slots of the real cache under shuttle: a fault that fails nothing comes and goes while threads allocate and free, so
//! that what is taken and given meanwhile must be whole.

use super::shuttle_tests::{SCHEDULES, SMALL, Work, Worker, arena, churns, fills_and_empties, runner, scenario_with};
use super::{CacheArgs, fail_slab};
use crate::inject::FaultAttr;
use shuttle::scheduler::{PctScheduler, RandomScheduler};

fn explore(works: [Work; 3]) {
    let (arena, run) = (arena(), move |arena| scenario_with(arena, SMALL, works, CacheArgs::default()));
    runner(RandomScheduler::new(SCHEDULES)).run(move || run(arena));
    runner(PctScheduler::new(3, SCHEDULES)).run(move || run(arena));
}

fn parks(worker: &mut Worker) {
    for _ in 0..2 {
        worker.on_cpu();
        let fault = fail_slab(Some(worker.cache), FaultAttr { probability: 0.0, ..FaultAttr::default() });
        worker.shrink();
        assert_eq!(fault.expect("legal parameters").end(), 0);
        churns(worker);
    }
}

#[test]
fn shuttle_cache_parked_under_load() {
    explore([fills_and_empties, churns, parks]);
}
