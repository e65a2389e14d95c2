//! The table of the scenario `typesafe` with its re-check taken out: the oracle must see it, on every backend.
#![forbid(unsafe_code)]

use haybarn_lab::oracle::{Claims, Kind};
use haybarn_lab::stress::{HaybarnField, Limits, Report, Run, Scenario, TYPESAFE_WITHOUT_RECHECK, scenario};
use std::sync::Arc;
use std::time::Duration;

const THREADS: u32 = 4;

fn run(scenario: &'static Scenario, backend: &str, ops: u64) -> Report {
    let field = HaybarnField::new(Some(backend), THREADS, None).unwrap();
    let limits = Limits {
        threads: THREADS,
        time: Duration::from_secs(60),
        ops: Some(ops),
        seed: 1,
        long_campaign: false,
        inject: 0.0,
    };
    let run = Run::new(scenario, Arc::new(field), Arc::new(Claims::new()), limits, false).unwrap();
    std::thread::scope(|scope| {
        for index in 0..THREADS {
            let run = &run;
            scope.spawn(move || run.thread(index).unwrap());
        }
    });
    run.finish().unwrap()
}

/// The restartable sequences are not on every machine.
fn backends() -> impl Iterator<Item = &'static str> {
    ["rseq", "locked", "virtual"].into_iter().filter(|backend| HaybarnField::new(Some(backend), 1, None).is_ok())
}

#[test]
fn without_the_recheck_another_object_is_seen() {
    static WITHOUT: Scenario = TYPESAFE_WITHOUT_RECHECK;
    for backend in backends() {
        let report = run(&WITHOUT, backend, 20_000_000);
        assert!(report.violations > 0, "{backend}: not seen in {} operations", report.ops);
        // What is seen first may be a consequence.
        let expected = format!("typesafe-without-recheck: {}: cache ", Kind::AnotherObject.name());
        assert!(report.examples.iter().any(|said| said.starts_with(&expected)), "{backend}: {:?}", report.examples);
    }
}

#[test]
fn with_it_nothing_is() {
    for backend in backends() {
        let report = run(scenario("typesafe").expect("a scenario"), backend, 300_000);
        assert_eq!(report.violations, 0, "{backend}: {:?}", report.examples);
    }
}
