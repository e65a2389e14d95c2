//! What to run, and running it: rows in this process, then the row that takes a process for each target.
#![forbid(unsafe_code)]

use super::machine::pin;
use super::measure::measure;
use super::report::{Note, Report};
use super::rows::{self, Process, threads64};
use super::summary::{Series, lines};
use std::process::{Command, Stdio};

/// Pairs of each thread in one process of the row of 64 threads.
const PAIRS_PER_THREAD: u64 = 20_000;
/// One process stands for this many rounds: it takes as long.
const ROUNDS_PER_PROCESS: usize = 8;

/// What to measure.
pub struct Plan {
    /// Rows by name; empty: all.
    pub rows: Vec<String>,
    /// Targets by name; empty: all.
    pub targets: Vec<String>,
    /// Rounds of every target in every row; at least 1.
    pub rounds: usize,
    /// The command that runs [`run_child`] in a fresh process with the two arguments that follow it, and prints what it returns.
    pub launcher: Vec<String>,
}

/// Why a plan cannot be run.
#[derive(Debug, PartialEq, Eq)]
pub enum PlanError {
    /// A name or number that does not exist; the text lists what does.
    Usage(String),
    /// Something failed on the way.
    Failed(String),
    /// `progress` said so.
    Stopped,
}

impl core::fmt::Display for PlanError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Usage(why) | Self::Failed(why) => f.write_str(why),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

/// The names of all rows, each with one line about it, and of all targets of this build.
#[must_use]
pub fn names() -> (Vec<(&'static str, &'static str)>, Vec<&'static str>) {
    let all = rows::rounds();
    let mut names: Vec<_> = all.iter().map(|row| (row.name, row.about)).collect();
    // Some rows have targets of their own.
    let mut targets = Vec::new();
    for entry in all.iter().flat_map(|row| &row.entries) {
        if !targets.contains(&entry.target) {
            targets.push(entry.target);
        }
    }
    names.push((threads64::NAME, threads64::ABOUT));
    (names, targets)
}

/// Runs the plan. `progress` is told what starts: the row, its number from 0, and how many there are; false stops the run.
///
/// # Errors
/// [`PlanError::Usage`] for unknown rows or targets, or no rounds; [`PlanError::Failed`] where a child process fails; [`PlanError::Stopped`].
pub fn run(plan: &Plan, mut progress: impl FnMut(&str, usize, usize) -> bool) -> Result<Report, PlanError> {
    check(plan)?;
    // A backend that is forced but not to be had is an error, not a table without us.
    haybarn::Arena::global().map_err(|error| PlanError::Usage(error.to_string()))?;
    let wanted = |all: &[String], name: &str| all.is_empty() || all.iter().any(|n| n == name);
    let row_wanted = |name: &str| wanted(&plan.rows, name);
    let target_wanted = |name: &str| wanted(&plan.targets, name);
    let in_rounds: Vec<_> = rows::rounds().into_iter().filter(|row| row_wanted(row.name)).collect();
    let with_processes = row_wanted(threads64::NAME);
    let total = in_rounds.len() + usize::from(with_processes);
    let mut report = Report::new(plan.rounds);
    // The processes first: nothing of the other rows is then in the way of what they measure.
    if with_processes {
        go_on(progress(threads64::NAME, 0, total))?;
        processes(plan, target_wanted, &mut report)?;
    }
    // Where the system refuses, the thread runs where it is put.
    let _ = pin(0);
    let _at_the_end = Unpins;
    for (done, row) in in_rounds.iter().enumerate() {
        go_on(progress(row.name, done + usize::from(with_processes), total))?;
        let measured = measure(row, plan.rounds, target_wanted);
        report.lines.extend(lines(row.name, "ns", &measured.series));
        report.notes.push(Note {
            row: row.name,
            rounds: plan.rounds,
            repeated: measured.repeated,
            disturbed: measured.disturbed,
            missing: measured.missing,
            instructions: row.instructions.map(|count| count()),
        });
    }
    Ok(report)
}

/// Lets the thread go when a run ends, also one that was stopped.
struct Unpins;

impl Drop for Unpins {
    fn drop(&mut self) {
        super::machine::unpin();
    }
}

/// Runs one process of the row of 64 threads: `target` and pairs per thread as the launcher passed them.
///
/// # Errors
/// A text for an unknown target, a number that is none, or a target that is not to be had.
pub fn run_child(target: &str, pairs: &str) -> Result<String, String> {
    let pairs: u64 = pairs.parse().map_err(|e| format!("pairs {pairs:?}: {e}"))?;
    let outcome = (process(target)?.run)(pairs)?;
    Ok(format!("{} {}", outcome.nanoseconds, outcome.resident))
}

/// Runs one row on one target for about `pairs` pairs without measuring anything: for callgrind, perf and strace.
///
/// # Errors
/// A text for an unknown row or target, or a target that is not to be had.
pub fn iterate(row: &str, target: &str, pairs: u64) -> Result<(), String> {
    if row == threads64::NAME {
        return (process(target)?.run)(pairs / 64).map(|_| ());
    }
    let row = rows::rounds().into_iter().find(|r| r.name == row).ok_or_else(|| format!("unknown row {row:?}"))?;
    let entry = row.entries.iter().find(|e| e.target == target).ok_or_else(|| format!("unknown target {target:?}"))?;
    let _ = pin(0);
    let done = (entry.work)().map(|mut work| work(pairs.next_multiple_of(row.step)));
    // The thread is the caller's, and so are the processes that inherit where it may run.
    super::machine::unpin();
    done.map(|_nanoseconds| ())
}

fn go_on(yes: bool) -> Result<(), PlanError> {
    if yes { Ok(()) } else { Err(PlanError::Stopped) }
}

fn check(plan: &Plan) -> Result<(), PlanError> {
    let (rows, targets) = names();
    let rows: Vec<&str> = rows.iter().map(|(name, _)| *name).collect();
    for (what, asked, known) in [("row", &plan.rows, &rows), ("target", &plan.targets, &targets)] {
        if let Some(name) = asked.iter().find(|name| !known.contains(&name.as_str())) {
            return Err(PlanError::Usage(format!("unknown {what} {name:?}; there are: {}", known.join(", "))));
        }
    }
    if plan.rounds == 0 {
        return Err(PlanError::Usage("rounds: at least 1".into()));
    }
    Ok(())
}

fn process(target: &str) -> Result<Process, String> {
    rows::processes().into_iter().find(|p| p.target == target).ok_or_else(|| format!("unknown target {target:?}"))
}

/// The row of 64 threads: every target in turn, each time in a fresh process.
fn processes(plan: &Plan, wanted: impl Fn(&str) -> bool, report: &mut Report) -> Result<(), PlanError> {
    let targets: Vec<Process> = rows::processes().into_iter().filter(|p| wanted(p.target)).collect();
    let runs = plan.rounds.div_ceil(ROUNDS_PER_PROCESS);
    let empty = || targets.iter().map(|p| Series { target: p.target, kind: p.kind, values: Vec::new() }).collect();
    let (mut time, mut memory): (Vec<Series>, Vec<Series>) = (empty(), empty());
    let mut missing = Vec::new();
    for run in 0..runs {
        for turn in 0..targets.len() {
            let at = (run + turn) % targets.len();
            match child(&plan.launcher, targets[at].target).map_err(PlanError::Failed)? {
                Ok((nanoseconds, resident)) => {
                    time[at].values.push(nanoseconds);
                    memory[at].values.push(resident);
                }
                Err(why) if run == 0 => missing.push((targets[at].target, why)),
                Err(_) => {}
            }
        }
    }
    let complete = |series: Vec<Series>| series.into_iter().filter(|s| s.values.len() == runs).collect::<Vec<_>>();
    report.lines.extend(lines(threads64::NAME, "ns", &complete(time)));
    report.lines.extend(lines(threads64::MEMORY, "MiB", &complete(memory)));
    report.notes.push(Note {
        row: threads64::NAME,
        rounds: runs,
        repeated: 0,
        disturbed: 0,
        missing,
        instructions: None,
    });
    Ok(())
}

/// Runs one child. The outer error is about the launcher, the inner one the child's own.
fn child(launcher: &[String], target: &str) -> Result<Result<(f64, f64), String>, String> {
    let (program, arguments) = launcher.split_first().ok_or("no launcher for the row of processes")?;
    let mut command = Command::new(program);
    command.args(arguments).arg(target).arg(PAIRS_PER_THREAD.to_string()).stdin(Stdio::null());
    let output = command.output().map_err(|e| format!("{program}: {e}"))?;
    if !output.status.success() {
        // Both launchers end with one line "program or exception: why".
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or("ended without a word");
        return Ok(Err(last.split_once(": ").map_or(last, |(_, why)| why).to_owned()));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut figures = text.split_whitespace().map(str::parse::<f64>);
    match (figures.next(), figures.next()) {
        (Some(Ok(nanoseconds)), Some(Ok(resident))) => Ok(Ok((nanoseconds, resident))),
        _ => Err(format!("{program} printed no figures: {text:?}")),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
