#![forbid(unsafe_code)]

use super::{Cpus, DesignKind};

#[test]
fn texts_become_options_or_errors_that_say_what_is_legal() {
    assert_eq!("recorded".parse(), Ok(Cpus::Recorded));
    assert_eq!("4".parse(), Ok(Cpus::Modulo(4)));
    for text in ["0", "-1", "x", "", "70000", "1025"] {
        assert!(text.parse::<Cpus>().unwrap_err().contains("1 to 1024"), "{text}");
    }
    for &design in DesignKind::ALL {
        assert_eq!(design.name().parse(), Ok(design));
    }
    assert!("slub".parse::<DesignKind>().unwrap_err().contains("sheaves and system"));
    assert_eq!(Cpus::Modulo(2).of(5), 1);
    assert_eq!(Cpus::Recorded.of(5), 5);
}
