#![forbid(unsafe_code)]

use super::*;

fn series(target: &'static str, kind: Kind, values: &[f64]) -> Series {
    Series { target, kind, values: values.to_vec() }
}

#[test]
fn quantiles_interpolate() {
    let values = [4.0, 1.0, 3.0, 2.0];
    assert_eq!(quantile(&values, 0.0), 1.0);
    assert_eq!(quantile(&values, 0.5), 2.5);
    assert_eq!(quantile(&values, 1.0), 4.0);
    assert_eq!(quantile(&[7.0], 0.9), 7.0);
}

#[test]
fn a_round_that_is_slow_for_all_does_not_move_the_ratio() {
    let got = lines(
        "r",
        "ns",
        &[
            series("ours", Kind::Haybarn, &[1.0, 10.0, 1.0]),
            series("good", Kind::Peer, &[2.0, 20.0, 2.0]),
            series("bad", Kind::Peer, &[3.0, 3.0, 3.0]),
            series("loop", Kind::Control, &[0.5, 0.5, 0.5]),
        ],
    );
    assert_eq!((got[0].ratio, got[0].best_peer), (Some(0.5), Some("good")));
    assert_eq!(got[1].ratio, Some(1.0));
    assert_eq!(got[2].ratio, Some(1.5));
    assert_eq!(got[3].ratio, None);
    assert_eq!(got[0].value, 1.0);
}

#[test]
fn without_peers_there_is_no_ratio() {
    let got = lines("r", "ns", &[series("ours", Kind::Haybarn, &[1.0])]);
    assert_eq!((got[0].ratio, got[0].best_peer), (None, None));
    assert_eq!(got[0].json()["ratio_to_best_peer"], Value::Null);
}
