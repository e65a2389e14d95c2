#![forbid(unsafe_code)]

use super::*;

fn plan(rows: &[&str], targets: &[&str]) -> Plan {
    let owned = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect();
    Plan {
        rows: owned(rows),
        targets: owned(targets),
        rounds: 2,
        launcher: vec!["/bin/echo".into(), "1.5 2.5 #".into()],
    }
}

#[test]
fn unknown_names_are_usage_errors_that_list_the_known_ones() {
    let Err(PlanError::Usage(why)) = run(&plan(&["no-such"], &[]), |_, _, _| true) else { panic!("accepted") };
    assert!(why.contains("no-such") && why.contains("pair-inlined") && why.contains("threads64"), "{why}");
    let Err(PlanError::Usage(why)) = run(&plan(&[], &["no-such"]), |_, _, _| true) else { panic!("accepted") };
    assert!(why.contains("system"), "{why}");
    let mut none = plan(&[], &[]);
    none.rounds = 0;
    assert!(matches!(run(&none, |_, _, _| true), Err(PlanError::Usage(_))));
}

#[test]
fn a_row_of_rounds_gives_a_line_per_target() {
    let mut told = Vec::new();
    let report = run(&plan(&["pair-call"], &["control", "system"]), |row, at, of| {
        told.push((row.to_owned(), at, of));
        true
    });
    let report = report.expect("runs");
    assert_eq!(told, [("pair-call".to_owned(), 0, 1)]);
    assert_eq!(report.lines.len(), 2);
    assert!(report.lines.iter().all(|line| line.value > 0.0 && line.best_peer == Some("system")));
}

#[test]
fn the_row_of_processes_reads_what_its_children_print() {
    let report = run(&plan(&["threads64"], &["system"]), |_, _, _| true).expect("runs");
    let values: Vec<_> = report.lines.iter().map(|line| (line.row, line.value)).collect();
    assert_eq!(values, [("threads64", 1.5), ("threads64-resident", 2.5)]);
}

#[test]
fn a_target_that_a_child_cannot_serve_is_missing_with_the_childs_reason() {
    let mut plan = plan(&["threads64"], &["system"]);
    plan.launcher = ["/bin/sh", "-c", "echo noise >&2; echo 'X: why: so' >&2; exit 1"].map(Into::into).to_vec();
    let report = run(&plan, |_, _, _| true).expect("runs");
    assert!(report.lines.is_empty());
    assert_eq!(report.notes[0].missing, [("system", "why: so".to_owned())]);
}

#[test]
fn progress_can_stop_the_run() {
    let stopped = run(&plan(&["pair-call"], &["system"]), |_, _, _| false);
    assert!(matches!(stopped, Err(PlanError::Stopped)));
}

#[test]
fn a_child_measures_time_and_memory() {
    let text = run_child("system", "10").expect("runs");
    let figures: Vec<f64> = text.split_whitespace().map(|f| f.parse().expect("a number")).collect();
    assert!(figures.len() == 2 && figures[0] > 0.0, "{text}");
    assert!(run_child("no-such", "10").is_err());
    assert!(run_child("system", "ten").is_err());
}

#[test]
fn iterate_runs_any_row_once() {
    iterate("lifo1000", "system", 10).expect("runs");
    iterate("threads64", "system", 640).expect("runs");
    assert!(iterate("no-such", "system", 1).is_err());
    assert!(iterate("mixed", "no-such", 1).is_err());
}
