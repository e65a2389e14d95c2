//! From rounds to figures: medians, spread, and the ratio to the best peer round by round.
#![forbid(unsafe_code)]

use super::blocks::Kind;
use serde_json::{Value, json};

/// The rounds of one target in one row, in order.
pub struct Series {
    /// The target's name.
    pub target: &'static str,
    /// Its part in the comparison.
    pub kind: Kind,
    /// One value a round.
    pub values: Vec<f64>,
}

/// One line of the result.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The row's name.
    pub row: &'static str,
    /// The target's name.
    pub target: &'static str,
    /// Median over the rounds.
    pub value: f64,
    /// Unit of `value` and `spread`.
    pub unit: &'static str,
    /// The 10th and the 90th percentile of the rounds.
    pub spread: [f64; 2],
    /// Median over the rounds of this target's value over the best peer's value in the same round; none for the control.
    pub ratio: Option<f64>,
    /// The peer with the lowest median; none where no peer ran.
    pub best_peer: Option<&'static str>,
}

impl Line {
    /// The line as the JSON object that `haybarn bench --json` promises.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({"row": self.row, "target": self.target, "value": figure(self.value), "unit": self.unit,
               "spread": self.spread.map(figure), "ratio_to_best_peer": self.ratio.map(figure), "best_peer": self.best_peer})
    }
}

/// Four digits behind the point: more would be noise.
fn figure(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// The value below which the share `q` (0 to 1) of `values` lies, interpolated. `values` is not empty.
#[must_use]
pub fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = q * (sorted.len() - 1) as f64;
    let below = at.floor() as usize;
    let above = at.ceil() as usize;
    sorted[below] + (sorted[above] - sorted[below]) * (at - below as f64)
}

/// The lines of one row. Ratios are taken inside each round, so that what disturbs a whole round cancels out; the best peer is
/// chosen once, by its median, because the least of several noisy values in each round would be too low.
#[must_use]
pub fn lines(row: &'static str, unit: &'static str, series: &[Series]) -> Vec<Line> {
    let median = |s: &Series| quantile(&s.values, 0.5);
    let peers = series.iter().filter(|s| s.kind == Kind::Peer);
    let best = peers.min_by(|a, b| median(a).total_cmp(&median(b)));
    let line = |s: &Series| Line {
        row,
        target: s.target,
        value: median(s),
        unit,
        spread: [quantile(&s.values, 0.1), quantile(&s.values, 0.9)],
        ratio: best.filter(|_| s.kind != Kind::Control).map(|best| {
            let ratios: Vec<f64> = s.values.iter().zip(&best.values).map(|(own, peer)| own / peer).collect();
            quantile(&ratios, 0.5)
        }),
        best_peer: best.map(|best| best.target),
    };
    series.iter().map(line).collect()
}

#[cfg(test)]
#[path = "summary_tests.rs"]
mod tests;
