//! Rounds: every target in turn, many times, so that what the machine does hits all of them alike.
#![forbid(unsafe_code)]

use super::clock::Sample;
use super::row::Work;
use super::rows::Rounds;
use super::summary::Series;
use std::time::Duration;

/// A disturbed round is measured again at most this often; then it counts.
const TRIES: u32 = 4;
/// The first guess of a round's pairs.
const FIRST_PAIRS: u64 = 1 << 14;

/// What a row gave.
pub struct Measured {
    /// One series per target.
    pub series: Vec<Series>,
    /// Rounds that were thrown away because a thread was off its CPU.
    pub repeated: u64,
    /// Rounds that count although a thread was off its CPU in every try.
    pub disturbed: u64,
    /// Targets that are not to be had here, with the reason.
    pub missing: Vec<(&'static str, String)>,
}

/// Measures a row: `rounds` rounds of every target that `wanted` accepts. The order of the targets rotates by one each round.
pub fn measure(row: &Rounds, rounds: usize, wanted: impl Fn(&str) -> bool) -> Measured {
    let mut measured = Measured { series: Vec::new(), repeated: 0, disturbed: 0, missing: Vec::new() };
    let mut works: Vec<(Work, u64)> = Vec::new();
    for entry in row.entries.iter().filter(|entry| wanted(entry.target)) {
        match (entry.work)() {
            Ok(mut work) => {
                let pairs = calibrate(&mut work, row.step, row.round);
                works.push((work, pairs));
                measured.series.push(Series { target: entry.target, kind: entry.kind, values: Vec::new() });
            }
            Err(why) => measured.missing.push((entry.target, why)),
        }
    }
    for round in 0..rounds {
        for turn in 0..works.len() {
            let at = (round + turn) % works.len();
            let (work, pairs) = &mut works[at];
            let sample = settled(work, *pairs, &mut measured);
            measured.series[at].values.push(sample.wall as f64 / *pairs as f64);
        }
    }
    measured
}

/// A round that was not disturbed, or the last try.
fn settled(work: &mut Work, pairs: u64, measured: &mut Measured) -> Sample {
    let mut sample = work(pairs);
    for _ in 1..TRIES {
        if !sample.disturbed() {
            return sample;
        }
        measured.repeated += 1;
        sample = work(pairs);
    }
    measured.disturbed += u64::from(sample.disturbed());
    sample
}

/// Pairs that take about `round`, a multiple of `step`; warms the work up on the way.
fn calibrate(work: &mut Work, step: u64, round: Duration) -> u64 {
    let goal = super::clock::nanoseconds(round);
    let mut pairs = FIRST_PAIRS.next_multiple_of(step);
    loop {
        let wall = work(pairs).wall.max(1);
        if wall >= goal / 2 {
            let scaled = u128::from(pairs) * u128::from(goal) / u128::from(wall);
            return u64::try_from(scaled).unwrap_or(pairs).max(1).next_multiple_of(step);
        }
        pairs = (pairs * 2).next_multiple_of(step);
    }
}

#[cfg(test)]
#[path = "measure_tests.rs"]
mod tests;
