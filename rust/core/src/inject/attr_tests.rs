use super::FaultAttr;
use crate::error::Error;

fn refused(attr: FaultAttr) -> (&'static str, String) {
    match attr.check() {
        Err(Error::BadArgument { argument, legal, .. }) => (argument, legal),
        other => panic!("{attr:?}: {other:?}"),
    }
}

#[test]
fn parameters_out_of_range_are_named_with_their_range() {
    for probability in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert_eq!(refused(FaultAttr { probability, ..FaultAttr::default() }), ("probability", "0 to 1".into()));
    }
    assert_eq!(refused(FaultAttr { interval: 0, ..FaultAttr::default() }), ("interval", "1 or more".into()));
    assert_eq!(refused(FaultAttr { times: Some(u64::MAX), ..FaultAttr::default() }).0, "times");
    for probability in [0.0, 0.5, 1.0] {
        FaultAttr { probability, ..FaultAttr::default() }.check().unwrap();
    }
}

#[test]
fn the_environments_text_has_linuxs_order() {
    let attr = FaultAttr { probability: 0.25, interval: 3, space: 4096, times: Some(7), this_thread: false };
    assert_eq!(FaultAttr::parse("3,25,4096,7"), Some(attr));
    assert_eq!(FaultAttr::parse(" 3 , 25 , 4096 , 7 "), Some(attr));
    assert_eq!(FaultAttr::parse("1,100,0,-1"), Some(FaultAttr::default()));
    assert_eq!(FaultAttr::parse("1,0.5,0,-1").map(|attr| attr.probability), Some(0.005));
}

#[test]
fn other_text_is_refused() {
    for text in [
        "",
        "1",
        "1,100,0",
        "1,100,0,-1,0",
        "0,100,0,-1",
        "1,101,0,-1",
        "1,-1,0,-1",
        "1,nan,0,-1",
        "1,100,-1,-1",
        "1,100,0,-2",
        "1,100,0,18446744073709551615",
        "a,100,0,-1",
    ] {
        assert_eq!(FaultAttr::parse(text), None, "{text:?}");
    }
}
