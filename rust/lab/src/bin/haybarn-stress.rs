//! The stress scenarios as a plain executable, for builds that Python does not see (sanitizers, planted bugs).
//!
//! `haybarn-stress [--threads N] [--seconds S] [--seed K] [--scenario NAME]... [--backend B] [--form F] [--ops N] [--campaign] [--inject P]
//! [--json FILE]`;
//! the same meaning, JSON and exit codes as `haybarn stress`.
#![forbid(unsafe_code)]

use haybarn_lab::oracle::Claims;
use haybarn_lab::stress::{Field, HaybarnField, Limits, Report, Run, SCENARIOS, Scenario, scenario};
use serde_json::{Map, Value, json};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// A scenario that gets this long is a long campaign.
const LONG: f64 = 60.0;

struct Options {
    threads: u32,
    seconds: f64,
    seed: u64,
    ops: Option<u64>,
    backend: Option<String>,
    form: Option<String>,
    scenarios: Vec<&'static Scenario>,
    json: Option<String>,
    campaign: bool,
    inject: f64,
}

fn main() -> ExitCode {
    match options(std::env::args().skip(1)).and_then(|options| campaign(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(why) => {
            eprintln!("haybarn-stress: {why}");
            ExitCode::from(2)
        }
    }
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        threads: 4,
        seconds: 10.0,
        seed: 1,
        ops: None,
        backend: None,
        form: None,
        scenarios: Vec::new(),
        json: None,
        campaign: false,
        inject: 0.0,
    };
    while let Some(name) = args.next() {
        if name == "--campaign" {
            options.campaign = true;
            continue;
        }
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--threads" => options.threads = number(&name, &value)?,
            "--seconds" => options.seconds = number(&name, &value)?,
            "--seed" => options.seed = number(&name, &value)?,
            "--ops" => options.ops = Some(number(&name, &value)?),
            "--backend" => options.backend = Some(value),
            "--inject" => options.inject = number(&name, &value)?,
            "--form" => options.form = Some(value),
            "--json" => options.json = Some(value),
            "--scenario" => {
                options.scenarios.push(scenario(&value).ok_or_else(|| format!("{name}: there is no {value:?}"))?);
            }
            _ => return Err(format!("unknown option {name}")),
        }
    }
    if !(options.seconds > 0.0 && options.seconds < 1e9) {
        return Err("--seconds: must be above 0".into());
    }
    if !(0.0..=1.0).contains(&options.inject) {
        return Err("--inject: must be from 0 to 1".into());
    }
    if options.scenarios.is_empty() {
        options.scenarios = SCENARIOS.iter().collect();
    }
    Ok(options)
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{name}: {value:?} is not a number of the right kind"))
}

/// Runs the scenarios one after the other; true when all passed.
fn campaign(options: &Options) -> Result<bool, String> {
    let field = HaybarnField::new(options.backend.as_deref(), options.threads, options.form.as_deref())
        .map_err(|error| error.to_string())?;
    let field: Arc<dyn Field> = Arc::new(field);
    let claims = Arc::new(Claims::new());
    let share = options.seconds / options.scenarios.len() as f64;
    let limits = Limits {
        threads: options.threads,
        time: Duration::from_secs_f64(share),
        ops: options.ops,
        seed: options.seed,
        long_campaign: options.campaign || share >= LONG,
        inject: options.inject,
    };
    let mut reports = Vec::new();
    for scenario in &options.scenarios {
        let run = Run::new(scenario, field.clone(), claims.clone(), limits, true)?;
        std::thread::scope(|scope| {
            for index in 0..limits.threads {
                let run = &run;
                scope.spawn(move || run.thread(index).expect("each thread once"));
            }
        });
        let report = run.finish()?;
        eprintln!(
            "{:<18} {:>12} operations, {} violations{}",
            report.scenario,
            report.ops,
            report.violations,
            if report.missing.is_empty() {
                String::new()
            } else {
                format!(", never moved: {}", report.missing.join(", "))
            },
        );
        reports.push(report);
    }
    if let Some(path) = &options.json {
        write(path, &summary(options, field.backend(), &reports))?;
    }
    Ok(reports.iter().all(Report::passed))
}

fn summary(options: &Options, backend: &str, reports: &[Report]) -> Value {
    let seconds: f64 = reports.iter().map(|report| report.seconds).sum();
    let ops: u64 = reports.iter().map(|report| report.ops).sum();
    let violations: u64 = reports.iter().map(|report| report.violations).sum();
    let faults: u64 = reports.iter().map(|report| report.faults).sum();
    let scenarios: Map<String, Value> =
        reports.iter().map(|report| (report.scenario.to_owned(), report.json())).collect();
    json!({
        "seed": options.seed,
        "backend": backend,
        "threads": options.threads,
        "seconds": seconds,
        "ops": ops,
        "ops_per_second": ops as f64 / seconds.max(1e-9),
        "violations": violations,
        "inject": options.inject,
        "faults": faults,
        "scenarios": scenarios,
    })
}

fn write(path: &str, summary: &Value) -> Result<(), String> {
    let text = format!("{summary:#}\n");
    if path == "-" {
        print!("{text}");
        return Ok(());
    }
    std::fs::write(path, text).map_err(|error| format!("--json: {path}: {error}"))
}
