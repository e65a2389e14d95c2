#![forbid(unsafe_code)]

use super::*;
use crate::bench::rows;

fn pretend(nanoseconds_per_pair: u64) -> Work {
    Box::new(move |pairs| Sample { wall: pairs * nanoseconds_per_pair, cpu: pairs * nanoseconds_per_pair })
}

#[test]
fn calibration_reaches_the_goal_in_steps() {
    for cost in [1, 7, 100, 10_000] {
        let pairs = calibrate(&mut pretend(cost), 1000, Duration::from_millis(1));
        assert_eq!(pairs % 1000, 0);
        let wall = pairs * cost;
        assert!((500_000..=1_000_000 + 1000 * cost).contains(&wall), "{cost}: {wall}");
    }
}

#[test]
fn a_disturbed_round_is_measured_again() {
    let mut tries = 0;
    let mut work: Work = Box::new(move |_| {
        tries += 1;
        Sample { wall: 1000, cpu: if tries < 3 { 500 } else { 1000 } }
    });
    let mut measured = Measured { series: Vec::new(), repeated: 0, disturbed: 0, missing: Vec::new() };
    assert_eq!(settled(&mut work, 1, &mut measured).cpu, 1000);
    assert_eq!((measured.repeated, measured.disturbed), (2, 0));
    let mut work: Work = Box::new(|_| Sample { wall: 1000, cpu: 0 });
    settled(&mut work, 1, &mut measured);
    assert_eq!(measured.disturbed, 1);
}

#[test]
fn every_row_runs_on_every_target_that_can_serve_it() {
    for row in rows::rounds() {
        for entry in &row.entries {
            match (entry.work)() {
                Ok(mut work) => assert!(work(2 * row.step).wall > 0, "{} on {}", row.name, entry.target),
                Err(why) => assert_eq!((row.name, entry.target), ("mixed", "haybarn-static"), "{why}"),
            }
        }
    }
}

#[test]
fn a_row_gives_one_value_a_round_for_each_target_asked_for() {
    let rows = rows::rounds();
    let measured = measure(&rows[0], 3, |target| target == "system");
    assert_eq!(measured.series.len(), 1);
    assert_eq!(measured.series[0].values.len(), 3);
}
