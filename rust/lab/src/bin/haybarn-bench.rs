//! The benchmark executable: every row on this allocator and, with the feature `peers`, on the allocators to beat.
#![forbid(unsafe_code)]

use haybarn_lab::bench::{self, Plan, PlanError};
use std::process::ExitCode;

const USAGE: &str = "usage: haybarn-bench [--row ROW]... [--target TARGET]... [--rounds N] [--json FILE]
       haybarn-bench --list
       haybarn-bench --row ROW --target TARGET --iterations N    (no timing: for callgrind, perf, strace)
--json FILE overwrites; - is standard output, which then has no table. Default: every row, every target, 61 rounds.";

const ROUNDS: usize = 61;

/// The command line, taken apart.
#[derive(Default)]
struct Options {
    rows: Vec<String>,
    targets: Vec<String>,
    rounds: Option<usize>,
    json: Option<String>,
    iterations: Option<u64>,
    list: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, target, pairs] = &arguments[..]
        && flag == "--child"
    {
        return finish(bench::run_child(target, pairs).map(|figures| println!("{figures}")).map_err(PlanError::Failed));
    }
    finish(parse(arguments).map_err(PlanError::Usage).and_then(act))
}

fn finish(outcome: Result<(), PlanError>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(PlanError::Usage(why)) => {
            eprintln!("haybarn-bench: {why}\n{USAGE}");
            ExitCode::from(2)
        }
        Err(why) => {
            eprintln!("haybarn-bench: {why}");
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: Vec<String>) -> Result<Options, String> {
    let mut options = Options::default();
    let mut arguments = arguments.into_iter();
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--row" => options.rows.push(value()?),
            "--target" => options.targets.push(value()?),
            "--rounds" => options.rounds = Some(value()?.parse().map_err(|e| format!("--rounds: {e}"))?),
            "--json" => options.json = Some(value()?),
            "--iterations" => options.iterations = Some(value()?.parse().map_err(|e| format!("--iterations: {e}"))?),
            "--list" => options.list = true,
            _ => return Err(format!("unknown argument {flag:?}")),
        }
    }
    Ok(options)
}

fn act(options: Options) -> Result<(), PlanError> {
    if options.list {
        let (rows, targets) = bench::names();
        rows.iter().for_each(|(name, about)| println!("{name:<14} {about}"));
        println!("targets: {}", targets.join(", "));
        return Ok(());
    }
    if let Some(pairs) = options.iterations {
        let ([row], [target]) = (&options.rows[..], &options.targets[..]) else {
            return Err(PlanError::Usage("--iterations takes exactly one --row and one --target".into()));
        };
        return bench::iterate(row, target, pairs).map_err(PlanError::Usage);
    }
    let own = std::env::current_exe().map_err(|e| PlanError::Failed(format!("this executable's path: {e}")))?;
    let plan = Plan {
        rows: options.rows,
        targets: options.targets,
        rounds: options.rounds.unwrap_or(ROUNDS),
        launcher: vec![own.to_string_lossy().into_owned(), "--child".into()],
    };
    let report = bench::run(&plan, |row, at, of| {
        eprintln!("[{}/{of}] {row}", at + 1);
        true
    })?;
    let json = || format!("{:#}\n", report.json());
    match options.json.as_deref() {
        Some("-") => print!("{}", json()),
        Some(file) => {
            std::fs::write(file, json()).map_err(|e| PlanError::Usage(format!("{file}: {e}")))?;
            print!("{}", report.table());
        }
        None => print!("{}", report.table()),
    }
    Ok(())
}
